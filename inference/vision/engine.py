"""The BLIP-2 engine: captions and answers with continuous batching.

Each step decodes one token for every sequence in the batch, advances the current beam search, and starts new texts.
Tasks without a running text start first; further texts of a task only use sequences that are free.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from bot.errors import EngineError
from bot.ports import Task, TaskAdapter
from inference.checkpoints.resolve import model_path, model_revision
from inference.engine.tokenizer_notes import question_notes
from inference.ipc.messages import TaskResult
from inference.memory.offload import offloader_of, weights_capability
from inference.memory.precision import dtype_name
from inference.vision.beam_search import BeamSearch, BeamSearches
from inference.vision.decode_batch import DecodeBatch
from inference.vision.feature_cache import FeatureCache
from inference.vision.generation_plan import TextSpec, first_line, prompt_for
from inference.vision.language_model import language_model_for
from inference.vision.loader import load_blip
from inference.vision.prompt_ids import PromptBuilder
from inference.vision.query_encoder import QueryEncoder
from inference.vision.request import VisionRequest
from inference.vision.row_adapters import RowAdapters
from inference.vision.sequence import (
    GENERATION_OPTIONS,
    TextSequence,
    generation_arguments,
    is_sampling,
    logits_warpers_for,
    repetition_penalty,
)
from inference.vision.text_engine import TextEngine
from inference.vision.text_schedule import NewText

MAX_SEQUENCES = 16
"""Texts in the batch. Decoding is bound by reading the weights, so more sequences cost little; the cost of starting
texts is bounded by `MAX_NEW_PER_STEP`."""
MAX_NEW_PER_STEP = 4
"""Texts that start in one step: encoding an image takes as long as many tokens, for which all others wait."""
_OPTIONS = ["question", *GENERATION_OPTIONS]


class VisionEngine(TextEngine[VisionRequest]):
    max_sequences = MAX_SEQUENCES
    max_new_per_step = MAX_NEW_PER_STEP

    def load_model(self, device: str) -> None:
        folder = model_path(self._model)
        self._blip, self._processor = load_blip(self._model, folder, device)
        language_model = language_model_for(self._blip.language_model)
        self._batch = DecodeBatch(language_model) if language_model else None
        self._max_sequences = MAX_SEQUENCES if language_model else 1
        self._searches = BeamSearches(self._blip.language_model)
        self._prompt_builder = PromptBuilder(self._blip, self._processor)
        dtype = self._blip.vision_model.dtype  # its other parts may be kept in float32
        revision = model_revision(self._model, folder)
        self._adapters = RowAdapters(self._blip, revision)
        self._image_encoder = QueryEncoder(
            self._blip,
            self._processor.image_processor,
            FeatureCache(self._model.image_cache_mb * 2**20),
            self._adapters,
        )
        self._capabilities = {
            "samplers": [],
            "options": _OPTIONS,
            "revision": revision,
            "dtype": dtype_name(dtype),
            "rows": self._max_sequences,
            "attention": self._blip.config._attn_implementation,
            **weights_capability(self._blip),
        }

    def add_task(self, task: Task) -> None:
        if not task.images:
            raise EngineError(detail="a vision task without an image")
        with self._meter.charge([task.id], is_prefill=True):
            text = prompt_for(task, self._model)
            prompt_ids = self._prompt_builder.tokenize(text)
            max_tokens = int(task.options.get("max_new_tokens", self._model.max_new_tokens))
            remaining = self._prompt_builder.remaining_tokens(prompt_ids, text)
            if remaining is not None:
                max_tokens = min(max_tokens, remaining)
            adapter = self._adapters.load(task.adapter, self._used_adapters())
            images = [self._image_encoder.preprocess(image.media, adapter) for image in task.images]
            self._requests[task.id] = VisionRequest(task, prompt_ids, images, max_tokens, adapter)

    def _used_adapters(self) -> set[str]:
        return {request.adapter for request in self._requests.values()}

    def token_costs(self) -> list[tuple[int, float]]:
        """Measured batch sizes and the mean seconds of one decoding pass at each."""
        return [(round(point.size), point.seconds) for point in self._cost_model.measured_points()]

    def reduce_memory(self) -> str | None:
        """First half the sequences, one new text per step and an empty image cache; then less device memory."""
        if self._max_sequences > 1:
            self._max_sequences, self._max_new_per_step = self._max_sequences // 2, 1
            self._image_encoder.cache.clear()
            self._adapters.unload_unused(self._used_adapters())
            return "rows"
        offloader = offloader_of(self._blip)
        return offloader.use_less_memory() if offloader is not None else None

    def unload_model(self) -> None:
        self._reset()
        self._requests.clear()
        self._searches.close()
        self._image_encoder.cache.clear()
        self._adapters.unload_unused()
        del self._blip, self._processor, self._prompt_builder, self._image_encoder, self._batch, self._searches
        del self._adapters

    # ------------------------------------------------------------ one step

    def _decode_tokens(self, batch: DecodeBatch) -> dict[str, None]:
        sequences = list(batch.sequences)
        started = time.monotonic()
        with self._meter.charge([sequence.task_id for sequence in sequences]), self._adapters_of(sequences):
            finished = batch.decode()
        self._cost_model.record_pass(len(sequences), time.monotonic() - started)
        return self._update_requests(sequences, finished)

    def _advance_search(self) -> dict[str, None]:
        search = self._searches.current
        assert search is not None
        request = self._requests[search.task_id]
        with self._meter.charge([search.task_id]), self._adapters.applied([request.adapter]):
            is_finished = self._searches.advance() is not None
        if is_finished:
            self._finish_search(request, search)
        else:
            request.on_tokens(search.index, search.token_count, self._decode_answer(request, search.token_ids))
        return {search.task_id: None}

    def _prefill(self, new_texts: Sequence[NewText[VisionRequest]]) -> dict[str, None]:
        """Encode the new texts' images in one batch, then prefill their prompts in one batch."""
        sequences: list[TextSequence] = []
        prompts: list[torch.Tensor] = []
        with self._meter.charge([request.task.id for request, _, _ in new_texts], is_prefill=True):
            features = self._image_encoder.encode([request.images[spec.image_index] for request, _, spec in new_texts])
            for (request, index, spec), image_features in zip(new_texts, features, strict=True):
                embeds = self._prompt_builder.embed(image_features, request.prompt_ids)
                if self._is_search(spec):
                    self._searches.start(self._search_for(request, index, spec, embeds))
                else:
                    sequences.append(self._sequence_for(request, index, spec))
                    prompts.append(embeds)
            finished: list[TextSequence] = []
            if self._batch is not None and sequences:
                with self._adapters_of(sequences):
                    finished = self._batch.prefill(sequences, prompts)
        return self._update_requests(sequences, finished)

    def _adapters_of(self, sequences: Sequence[TextSequence]) -> AbstractContextManager[None]:
        """Each row of the batch with the adapter of its request."""
        return self._adapters.applied([self._requests[sequence.task_id].adapter for sequence in sequences])

    # ------------------------------------------------------------ texts

    def _sequence_for(self, request: VisionRequest, index: int, spec: TextSpec) -> TextSequence:
        config = self._blip.language_model.generation_config
        return TextSequence(
            task_id=request.task.id,
            index=index,
            max_tokens=request.max_tokens,
            min_tokens=generation_arguments(spec.options, request.max_tokens)["min_new_tokens"],
            stop_token_ids=self._stop_token_ids,
            repetition_penalty=repetition_penalty(spec.options),
            prompt_ids=self._penalized_ids(request),
            generator=torch.Generator().manual_seed(spec.seed) if is_sampling(spec.options) else None,
            logits_warpers=logits_warpers_for(spec.options, config.top_k),
            should_stop=self._is_complete,
        )

    def _search_for(self, request: VisionRequest, index: int, spec: TextSpec, embeds: torch.Tensor) -> BeamSearch:
        several = {"num_return_sequences": spec.return_count} if spec.return_count > 1 else {}
        safe = {"remove_invalid_values": True} if request.adapter else {}  # an overflow ends no other request
        repeated = self._repeated_ids(request)
        mask = torch.ones((1, len(embeds)), dtype=torch.long, device=embeds.device)
        ids = {"input_ids": torch.tensor([repeated], device=embeds.device)} if repeated else {}
        return BeamSearch(
            task_id=request.task.id,
            index=index,
            inputs={"inputs_embeds": embeds[None], "attention_mask": mask, **ids},
            repeated=len(repeated) or 1,
            stop_token_ids=self._stop_token_ids,
            arguments=generation_arguments(spec.options, request.max_tokens) | several | safe,
            seed=spec.seed,
        )

    @property
    def _stop_token_ids(self) -> frozenset[int]:
        eos = self._blip.language_model.generation_config.eos_token_id
        return frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos])

    def _repeated_ids(self, request: VisionRequest) -> list[int]:
        """What `generate` counts as the beginning of the text: a decoder-only model's prompt."""
        if self._blip.language_model.config.is_encoder_decoder:
            return []
        return self._prompt_builder.with_image_tokens(request.prompt_ids)

    def _penalized_ids(self, request: VisionRequest) -> list[int]:
        """What counts as the beginning of the text for a repetition penalty."""
        config = self._blip.language_model.config
        return [config.decoder_start_token_id] if config.is_encoder_decoder else self._repeated_ids(request)

    def _decode_answer(self, request: VisionRequest, token_ids: Sequence[int]) -> str:
        return first_line(self._processor.tokenizer.decode(token_ids, skip_special_tokens=True))

    def _is_complete(self, token_ids: Sequence[int]) -> bool:
        """Only the first line is used: generation can stop after it."""
        decode = self._processor.tokenizer.decode
        return "\n" in decode(token_ids[-1:]) and "\n" in decode(token_ids, skip_special_tokens=True).lstrip()

    def _task_result(self, request: VisionRequest) -> TaskResult:
        question = str(request.task.options.get("question", ""))
        notes = question_notes(self._processor.tokenizer, question, is_demo=self._model.demo)
        revision = describe_revision(self._capabilities["revision"], request.task.adapter)
        prompt = self._prompt_builder.with_image_tokens(request.prompt_ids)
        usage = request.usage_with(len(request.images) * len(prompt))
        return TaskResult(text="\n".join(request.lines or ()), usage=usage, notes=notes, revision=revision)


def describe_revision(revision: str, adapter: TaskAdapter | None) -> str:
    """With the adapter's name and the start of its SHA-256: "...+birds@0123abcd"."""
    return revision if adapter is None else f"{revision}+{adapter.name}@{adapter.sha256[:8]}"
