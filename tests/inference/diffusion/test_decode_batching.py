"""Small pictures that end together are decoded together, and nobody notices."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL

from inference.diffusion.coroutines import Call
from inference.diffusion.decode_batching import CELLS, join, split, together
from inference.diffusion.decode_thread import Aside


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8
    ).eval()  # fmt: skip


def decode(side=8, dtype=torch.float32, **changes):
    latents = torch.randn(1, 4, side, side, dtype=dtype)
    return Call("vae", "decode", (latents,), {"return_dict": False, "generator": None} | changes)


def test_alike_ones_share_a_call(decoder):
    assert together(decoder, [decode() for _ in range(5)]) == 5


def test_whoever_is_different_ends_the_row(decoder):
    assert together(decoder, [decode(), decode(), decode(16), decode()]) == 2
    assert together(decoder, [decode(), decode(dtype=torch.float16)]) == 1
    assert together(decoder, [decode(), decode(return_dict=True)]) == 1
    assert together(decoder, [decode(return_dict=True), decode(return_dict=True)]) == 1


def test_large_pictures_are_decoded_one_at_a_time(decoder):
    assert together(decoder, [decode(64), decode(64)]) == 1
    assert together(decoder, [decode(128), decode(128)]) == 1
    assert together(decoder, [decode(8) for _ in range(100)]) == CELLS // 64


def test_a_decoder_of_unknown_kind_is_left_alone():
    assert together(torch.nn.Identity(), [decode(), decode()]) == 1


@torch.no_grad()
def test_each_gets_what_it_would_alone(decoder):
    calls = [decode() for _ in range(3)]
    parts = split(join(calls).perform(decoder), calls)

    for part, call in zip(parts, calls, strict=True):
        assert torch.allclose(part[0], call.perform(decoder)[0], atol=1e-5)


# ---------------------------------------------------------------- beside the loop


class Pictures:
    """An `Aside` that is given all at once."""

    def __init__(self, decoder, fails=lambda call: False):
        self.sizes = []
        self.decoder, self.fails = decoder, fails
        self.aside = Aside(self.perform, torch.device("cpu"), together=lambda calls: together(decoder, calls))

    def perform(self, call):
        self.sizes.append(len(call.args[0]))
        if self.fails(call):
            raise ValueError("no")
        return call.perform(self.decoder)

    def all(self, pictures):
        for picture in pictures:
            self.aside.put(picture)
        self.aside.send()
        done = []
        while self.aside.pending:
            done += self.aside.take(1.0)
        self.aside.close()
        return {id(one.picture): one for one in done}


def pictures(number):
    return [SimpleNamespace(call=decode()) for _ in range(number)]


def test_those_that_wait_are_decoded_together(decoder):
    beside, wanted = Pictures(decoder), pictures(5)
    done = beside.all(wanted)

    assert beside.sizes == [5]
    with torch.no_grad():
        for one in wanted:
            assert torch.allclose(done[id(one)].answer[0], one.call.perform(decoder)[0], atol=1e-5)
            assert done[id(one)].seconds > 0


def test_one_that_was_stopped_holds_up_nobody(decoder):
    wanted = pictures(5)
    wanted[0].call = wanted[3].call = None
    done = Pictures(decoder).all(wanted)

    assert [done[id(one)].answer is None for one in wanted] == [True, False, False, True, False]
    assert not any(one.error for one in done.values())


def test_too_much_for_one_call_is_made_one_by_one(decoder):
    beside = Pictures(decoder, fails=lambda call: len(call.args[0]) > 1)
    done = beside.all(pictures(4))

    assert not any(one.error for one in done.values())
    assert beside.sizes == [4, 1, 1, 1, 1]


def test_only_the_guilty_one_fails(decoder):
    wanted = pictures(4)
    bad = wanted[2].call.args[0]
    done = Pictures(decoder, fails=lambda call: any(torch.equal(row, bad[0]) for row in call.args[0])).all(wanted)

    assert [isinstance(done[id(one)].error, ValueError) for one in wanted] == [False, False, True, False]
