"""The engine of vision-language models that chat: captions, answers, threads and rankings.

Models whose cache can be joined decode one token for all their texts in each step, as BLIP-2 does; the others generate
one text after another with Transformers' `generate`, suspended at every token.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bot.errors import EngineError
from bot.models import ModelSpec
from bot.ports import ENHANCE, RANK, MatchScore, Task
from inference.checkpoints.resolve import model_path, model_revision
from inference.engine.base import EngineEvent, StepDone, TaskDone
from inference.ipc.messages import TaskResult
from inference.memory.offload import offloader_of, weights_capability
from inference.memory.precision import dtype_name
from inference.vision.beam_search import BeamSearch, BeamSearches
from inference.vision.chat.chat_inputs import ChatPrompt, open_image
from inference.vision.chat.chat_language_model import ChatLanguageModel, has_joinable_cache
from inference.vision.chat.chat_loader import inputs_for, load_chat_model
from inference.vision.chat.chat_request import ChatRequest, Ranking, is_question
from inference.vision.chat.conversation import conversation_of, ranking_of
from inference.vision.chat.thinking import AnswerDecoder
from inference.vision.decode_batch import DecodeBatch
from inference.vision.generation_plan import TextSpec
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

MAX_SEQUENCES = 8
"""Texts in the batch: each keeps the keys and values of its images, about a thousand tokens."""
MAX_NEW_PER_STEP = 2
"""Texts that start in one step, for which all others wait."""
MAX_IMAGES = 10
"""Of a question."""
_OPTIONS = ["question", "thread", "text", *GENERATION_OPTIONS]
_SAFE = {"remove_invalid_values": True}
"""Of `generate`: what overflows in one text ends no other."""


class ChatEngine(TextEngine[ChatRequest]):
    max_sequences = MAX_SEQUENCES
    max_new_per_step = MAX_NEW_PER_STEP

    def __init__(self, model: ModelSpec) -> None:
        super().__init__(model)
        self._rankings: dict[str, Ranking] = {}

    @property
    def free_slots(self) -> int:
        return max(0, super().free_slots - len(self._rankings))

    def load_model(self, device: str) -> None:
        folder = model_path(self._model)
        self._module, self._processor = load_chat_model(self._model, folder, device)
        self._language_model = ChatLanguageModel(self._module)
        self._batch = DecodeBatch(self._language_model) if has_joinable_cache(self._module) else None
        self._max_sequences = MAX_SEQUENCES if self._batch is not None else 1
        self._searches = BeamSearches(self._module)
        self._inputs = inputs_for(self._module, self._processor)
        self._answers = AnswerDecoder(self._processor.tokenizer)
        self._ids_of_yes, self._ids_of_no = (_first_ids(self._processor.tokenizer, word) for word in ("yes", "no"))
        self._capabilities = {
            "samplers": [],
            "options": _OPTIONS,
            "revision": model_revision(self._model, folder),
            "dtype": dtype_name(self._module.dtype),
            "rows": self._max_sequences,
            "max_images": MAX_IMAGES,
            "ranks": True,
            "attention": self._module.config._attn_implementation,
            **weights_capability(self._module),
        }

    def add_task(self, task: Task) -> None:
        if not task.images and task.command != ENHANCE and not is_question(task):
            raise EngineError(detail="a vision task without an image")
        with self._meter.charge([task.id], is_prefill=True):
            if task.command == RANK:
                self._rankings[task.id] = Ranking(task, self._ranking_prompts(task))
            else:
                max_tokens = int(task.options.get("max_new_tokens") or self._model.max_new_tokens)
                prompts = self._prompts_of(task, max_tokens)
                begins_in_thought = self._answers.begins_in_thought(prompts[0].token_ids)
                self._requests[task.id] = ChatRequest(task, prompts, max_tokens, begins_in_thought=begins_in_thought)

    def _prompts_of(self, task: Task, max_tokens: int) -> list[ChatPrompt]:
        images = [open_image(image.media) for image in task.images]
        shown = [images] if is_question(task) else [[image] for image in images]
        return [self._inputs.build(conversation_of(task, len(some)), some, max_tokens) for some in shown]

    def _ranking_prompts(self, task: Task) -> list[ChatPrompt]:
        messages = ranking_of(str(task.options["text"]))
        return [self._inputs.build(messages, [open_image(image.media)], 1) for image in task.images]

    def cancel_task(self, task_id: str) -> None:
        self._rankings.pop(task_id, None)
        super().cancel_task(task_id)

    def reduce_memory(self) -> str | None:
        """First half the sequences and one new text per step; then less device memory."""
        if self._max_sequences > 1:
            self._max_sequences, self._max_new_per_step = self._max_sequences // 2, 1
            return "rows"
        offloader = offloader_of(self._module)
        return offloader.use_less_memory() if offloader is not None else None

    def unload_model(self) -> None:
        self._reset()
        self._requests.clear()
        self._rankings.clear()
        self._searches.close()
        del self._module, self._processor, self._language_model, self._batch, self._searches, self._inputs
        del self._answers

    # ------------------------------------------------------------ one step

    def _step(self) -> list[EngineEvent]:
        return super()._step() + (self._rank_image() if self._rankings else [])

    def _decode_tokens(self, batch: DecodeBatch) -> dict[str, None]:
        sequences = list(batch.sequences)
        started = time.monotonic()
        with self._meter.charge([sequence.task_id for sequence in sequences]):
            finished = batch.decode()
        self._cost_model.record_pass(len(sequences), time.monotonic() - started)
        return self._update_requests(sequences, finished)

    def _advance_search(self) -> dict[str, None]:
        search = self._searches.current
        assert search is not None
        request = self._requests[search.task_id]
        started = time.monotonic()
        with self._meter.charge([search.task_id]):
            is_finished = self._searches.advance() is not None
        if is_finished:
            self._finish_search(request, search)
        else:
            self._cost_model.record_pass(1, time.monotonic() - started)
            request.on_tokens(search.index, search.token_count, self._decode_answer(request, search.token_ids))
        return {search.task_id: None}

    def _prefill(self, new_texts: Sequence[NewText[ChatRequest]]) -> dict[str, None]:
        sequences: list[TextSequence] = []
        prompts: list[Mapping[str, torch.Tensor]] = []
        with self._meter.charge([request.task.id for request, _, _ in new_texts], is_prefill=True):
            for request, index, spec in new_texts:
                prompt = request.prompts[spec.image_index]
                if self._is_search(spec):
                    self._searches.start(self._search_for(request, index, spec, prompt))
                else:
                    sequences.append(self._sequence_for(request, index, spec, prompt))
                    prompts.append(prompt.inputs)
            finished = self._batch.prefill(sequences, prompts) if self._batch is not None and sequences else []
        return self._update_requests(sequences, finished)

    def _rank_image(self) -> list[EngineEvent]:
        """One image of the oldest ranking."""
        task_id, ranking = next(iter(self._rankings.items()))
        with self._meter.charge([task_id], is_prefill=True):
            logits = self._language_model.last_logits(ranking.prompts[len(ranking.scores)].inputs)
            odds = logits[self._ids_of_yes].logsumexp(0) - logits[self._ids_of_no].logsumexp(0)
            ranking.scores.append(MatchScore(logit=float(odds)))
        events: list[EngineEvent] = [
            StepDone(task_id=task_id, step=len(ranking.scores), steps=len(ranking.prompts)),
        ]
        if ranking.is_done:
            del self._rankings[task_id]
            result = TaskResult(matches=tuple(ranking.scores), revision=self._capabilities["revision"])
            events.append(TaskDone(task_id=task_id, result=result))
        return events

    # ------------------------------------------------------------ texts

    def _sequence_for(self, request: ChatRequest, index: int, spec: TextSpec, prompt: ChatPrompt) -> TextSequence:
        config = self._module.generation_config
        return TextSequence(
            task_id=request.task.id,
            index=index,
            max_tokens=request.max_tokens,
            min_tokens=generation_arguments(spec.options, request.max_tokens)["min_new_tokens"],
            stop_token_ids=self._stop_token_ids,
            repetition_penalty=repetition_penalty(spec.options),
            prompt_ids=prompt.token_ids,
            generator=torch.Generator().manual_seed(spec.seed) if is_sampling(spec.options) else None,
            logits_warpers=logits_warpers_for(spec.options, config.top_k),
        )

    def _search_for(self, request: ChatRequest, index: int, spec: TextSpec, prompt: ChatPrompt) -> BeamSearch:
        several = {"num_return_sequences": spec.return_count} if spec.return_count > 1 else {}
        return BeamSearch(
            task_id=request.task.id,
            index=index,
            inputs=prompt.inputs,
            repeated=len(prompt.token_ids),
            arguments=generation_arguments(spec.options, request.max_tokens) | several | _SAFE,
            seed=spec.seed,
            stop_token_ids=self._stop_token_ids,
        )

    @property
    def _stop_token_ids(self) -> frozenset[int]:
        return frozenset(self._module.generation_config.eos_token_id or ())

    def _decode_answer(self, request: ChatRequest, token_ids: Sequence[int]) -> str:
        """Without thoughts; a caption on one line."""
        text = self._answers.decode(token_ids, begins_in_thought=request.begins_in_thought)
        return text if is_question(request.task) else " ".join(text.split())

    def _task_result(self, request: ChatRequest) -> TaskResult:
        usage = request.usage_with(sum(len(prompt.token_ids) for prompt in request.prompts))
        return TaskResult(text="\n".join(request.lines or ()), usage=usage, revision=self._capabilities["revision"])


def _first_ids(tokenizer: Any, word: str) -> list[int]:
    """The first tokens of the spellings of a word."""
    spellings = (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
    ids = (tokenizer(spelling, add_special_tokens=False).input_ids for spelling in spellings)
    return sorted({some[0] for some in ids if some and tokenizer.decode(some[:1]).strip()})
