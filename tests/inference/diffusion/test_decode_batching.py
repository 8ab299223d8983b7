"""Small images that finish at the same time are decoded in one batch, with the same result."""

import contextlib
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL

from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.decode_batching import MAX_LATENT_CELLS, batch_calls, batchable_prefix, unbatch_output
from inference.diffusion.decode_thread import DecodeThread


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8
    ).eval()  # fmt: skip


def decode(side=8, dtype=torch.float32, **changes):
    latents = torch.randn(1, 4, side, side, dtype=dtype)
    return ModuleCall("vae", "decode", (latents,), {"return_dict": False, "generator": None} | changes)


def test_calls_of_the_same_shape_are_batched(decoder):
    assert batchable_prefix(decoder, [decode() for _ in range(5)]) == 5


def test_the_first_different_call_ends_the_batch(decoder):
    assert batchable_prefix(decoder, [decode(), decode(), decode(16), decode()]) == 2
    assert batchable_prefix(decoder, [decode(), decode(dtype=torch.float16)]) == 1
    assert batchable_prefix(decoder, [decode(), replace(decode(), dtype=torch.float16)]) == 1
    assert batchable_prefix(decoder, [decode(), decode(return_dict=True)]) == 1
    assert batchable_prefix(decoder, [decode(return_dict=True), decode(return_dict=True)]) == 1


def test_large_images_are_decoded_one_at_a_time(decoder):
    assert batchable_prefix(decoder, [decode(64), decode(64)]) == 1
    assert batchable_prefix(decoder, [decode(128), decode(128)]) == 1
    assert batchable_prefix(decoder, [decode(8) for _ in range(100)]) == MAX_LATENT_CELLS // 64


def test_calls_of_an_unknown_decoder_are_not_batched():
    assert batchable_prefix(torch.nn.Identity(), [decode(), decode()]) == 1


@torch.no_grad()
def test_a_batched_call_gives_each_its_own_output(decoder):
    calls = [decode() for _ in range(3)]
    parts = unbatch_output(batch_calls(calls).execute(decoder), calls)

    for part, call in zip(parts, calls, strict=True):
        assert torch.allclose(part[0], call.execute(decoder)[0], atol=1e-5)


# ---------------------------------------------------------------- the decode thread


class Decoding:
    """A `DecodeThread` that gets all sequences in one flush.

    Attributes:
        sizes: batch rows of each call.
        held: how many earlier calls still had their activations when it began.
    """

    def __init__(self, decoder, fails=lambda call: False):
        self.sizes, self.held, self.activations = [], [], []
        self.decoder, self.fails = decoder, fails
        self.thread = DecodeThread(
            self.execute, torch.device("cpu"), batchable_prefix=lambda calls: batchable_prefix(decoder, calls)
        )

    def execute(self, call):
        self.sizes.append(len(call.args[0]))
        self.held.append(sum(one() is not None for one in self.activations))
        activations = torch.empty(1)
        self.activations.append(weakref.ref(activations))
        if self.fails(call):
            raise ValueError("no")
        return call.execute(self.decoder)

    def decode_all(self, sequences):
        for sequence in sequences:
            self.thread.submit(sequence)
        self.thread.flush()
        results = []
        while self.thread.pending:
            results += self.thread.collect(1.0)
        self.thread.close()
        return {id(one.sequence): one for one in results}


def make_sequences(count):
    return [SimpleNamespace(pending_call=decode()) for _ in range(count)]


def test_sequences_that_wait_are_decoded_in_one_batch(decoder):
    decoding, sequences = Decoding(decoder), make_sequences(5)
    results = decoding.decode_all(sequences)

    assert decoding.sizes == [5]
    with torch.no_grad():
        for one in sequences:
            assert torch.allclose(results[id(one)].output[0], one.pending_call.execute(decoder)[0], atol=1e-5)
            assert results[id(one)].seconds > 0


def test_a_cancelled_sequence_does_not_delay_the_others(decoder):
    sequences = make_sequences(5)
    sequences[0].pending_call = sequences[3].pending_call = None
    results = Decoding(decoder).decode_all(sequences)

    assert [results[id(one)].output is None for one in sequences] == [True, False, False, True, False]
    assert not any(one.error for one in results.values())


def test_a_batch_that_fails_is_decoded_one_by_one(decoder):
    decoding = Decoding(decoder, fails=lambda call: len(call.args[0]) > 1)
    results = decoding.decode_all(make_sequences(4))

    assert not any(one.error for one in results.values())
    assert decoding.sizes == [4, 1, 1, 1, 1]
    assert not any(decoding.held), "what did not fit is still in memory"


def test_only_the_faulty_sequence_fails(decoder):
    sequences = make_sequences(4)
    bad = sequences[2].pending_call.args[0]
    decoding = Decoding(decoder, fails=lambda call: any(torch.equal(row, bad[0]) for row in call.args[0]))
    results = decoding.decode_all(sequences)

    assert [isinstance(results[id(one)].error, ValueError) for one in sequences] == [False, False, True, False]


def test_all_decodes_share_one_stream_since_each_stream_keeps_memory_of_its_own(monkeypatch):
    streams = []

    def make_stream(device):
        streams.append(device)
        return SimpleNamespace(synchronize=lambda: None)

    monkeypatch.setattr(torch.cuda, "Stream", make_stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(DecodeThread, "flush", lambda thread: thread._batches.put(thread._unflushed))
    thread = DecodeThread(lambda call: call, torch.device("cuda"), batchable_prefix=lambda calls: 1)
    for sequence in make_sequences(3):
        thread.submit(sequence)
    thread.flush()
    while thread.pending:
        assert not any(result.error for result in thread.collect(1.0))
    thread._batches.put(None)

    assert len(streams) == 1
