"""Texts of a BLIP-2 in training: their loss, and greedy answers for whole lists of images and questions.

Works from the vision encoder's output, which does not change while an adapter is trained: Q-Former, projection and
language model are all that is computed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bot.errors import InvalidOption
from bot.models import ModelSpec
from inference.engine.tokenizer_notes import unknown_words
from inference.vision.generation_plan import first_line
from inference.vision.language_model import _stack_left_padded as stack_left_padded
from inference.vision.prompt_ids import PromptBuilder

_IGNORED = -100


class BlipTexts:
    """`blip` may have LoRA layers. A question that is empty asks for a caption."""

    def __init__(self, blip: Any, processor: Any, model: ModelSpec) -> None:
        self._blip = blip
        self._tokenizer = processor.tokenizer
        self._template = model.question_template
        self._caption_prompt = model.caption_prompt.strip() or None
        self._prompts = PromptBuilder(blip, processor)
        self._is_encoder_decoder = bool(blip.language_model.config.is_encoder_decoder)
        end = blip.language_model.generation_config.eos_token_id
        self._end = int(end[0] if isinstance(end, list) else self._tokenizer.eos_token_id if end is None else end)
        self._max_tokens = model.max_new_tokens
        self._prompt_ids: dict[str, list[int]] = {}
        self._answer_ids: dict[str, list[int]] = {}

    # ------------------------------------------------------------ token ids

    def prompt_ids(self, question: str) -> list[int]:
        if question not in self._prompt_ids:
            self._prompt_ids[question] = self._prompts.tokenize(self._prompt(question))
        return self._prompt_ids[question]

    def _prompt(self, question: str) -> str | None:
        return self._template.replace("{question}", question) if question else self._caption_prompt

    def answer_ids(self, question: str, answer: str) -> list[int]:
        """With the token that ends it. After a prompt, byte-level tokenizers write the space before a word into it."""
        text = f" {answer}" if self._prompt(question) and not self._is_encoder_decoder else answer
        if text not in self._answer_ids:
            self._answer_ids[text] = [*self._tokenizer(text, add_special_tokens=False).input_ids, self._end]
        return self._answer_ids[text]

    def count_excess(self, question: str, answer: str) -> tuple[int, int]:
        """How many tokens question and answer need, and how many the model takes; the first is larger: too long."""
        prompt, tokens = self.prompt_ids(question), len(self.answer_ids(question, answer))
        try:
            allowed = self._prompts.remaining_tokens(prompt, self._prompt(question))
        except InvalidOption:
            return len(prompt) + tokens, len(prompt)
        return tokens, min(self._max_tokens, self._max_tokens if allowed is None else allowed)

    def unknown_words(self, text: str) -> list[str]:
        """Words of an answer that the model has no tokens for."""
        return unknown_words(self._tokenizer, text)

    # ------------------------------------------------------------ forward passes

    def encode(self, states: Tensor) -> Tensor:
        """The language model's image tokens, (images, queries, width), from the vision encoder's, (images, patches,
        width)."""
        queries = self._blip.query_tokens.expand(len(states), -1, -1).to(states.dtype)
        mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        output = self._blip.qformer(query_embeds=queries, encoder_hidden_states=states, encoder_attention_mask=mask)
        projection = self._blip.language_projection
        tokens: Tensor = projection(output.last_hidden_state.to(next(projection.parameters()).dtype))
        return tokens

    def predict(self, image_tokens: Tensor, texts: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """Logits of the tokens of all answers, (tokens, vocabulary), and the tokens. `texts`: a question and an answer
        for each row of `image_tokens`."""
        prompts = [self.prompt_ids(question) for question, _ in texts]
        answers = [self.answer_ids(question, answer) for question, answer in texts]
        if self._is_encoder_decoder:
            embeds, mask = self._join(image_tokens, prompts)
            targets = self._pad(answers, _IGNORED)
            logits = self._blip.language_model(inputs_embeds=embeds, attention_mask=mask, labels=targets).logits
        else:
            count = image_tokens.shape[1]
            rows = list(zip(prompts, answers, strict=True))
            embeds, mask = self._join(image_tokens, [[*prompt, *answer] for prompt, answer in rows])
            logits = self._blip.language_model(inputs_embeds=embeds, attention_mask=mask).logits[:, :-1]
            targets = self._pad([[_IGNORED] * (count + len(prompt)) + answer for prompt, answer in rows], _IGNORED)[
                :, 1:
            ]
        is_answer = targets != _IGNORED
        return logits[is_answer].float(), targets[is_answer]

    def _join(self, image_tokens: Tensor, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Image tokens then texts, padded on the right, and their mask."""
        embed = self._blip.get_input_embeddings()
        device = image_tokens.device
        parts = [embed(torch.tensor(row, dtype=torch.long, device=device)) for row in rows]
        embeds = [torch.cat([image.to(part.dtype), part]) for image, part in zip(image_tokens, parts, strict=True)]
        lengths = torch.tensor([len(one) for one in embeds], device=device)
        padded = pad_sequence(embeds, batch_first=True)
        mask = (torch.arange(padded.shape[1], device=device)[None] < lengths[:, None]).long()
        return padded, mask

    def _pad(self, rows: list[list[int]], value: int) -> Tensor:
        tensors = [torch.tensor(row, dtype=torch.long, device=self._blip.device) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=value)

    @torch.inference_mode()
    def answer(self, states: Tensor, questions: Sequence[str]) -> list[str]:
        """The most likely answer, token by token, to a question about each row of the vision encoder's output."""
        image_tokens = self.encode(states)
        prompts = [
            self._prompts.embed(tokens, self.prompt_ids(question))
            for tokens, question in zip(image_tokens, questions, strict=True)
        ]
        embeds, lengths = stack_left_padded(prompts)
        positions = torch.arange(embeds.shape[1], device=embeds.device)[None]
        mask = (positions >= embeds.shape[1] - torch.tensor(lengths, device=embeds.device)[:, None]).long()
        ids = self._blip.language_model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=self._max_tokens,
            do_sample=False,
            num_beams=1,
        )
        return [first_line(text) for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]
