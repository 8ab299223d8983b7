"""Walks a ComfyUI graph upstream. It is untrusted: cycles end, and each question visits a bounded number of nodes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MAX_NODES = 2000
_MAX_DEPTH = 40
_MAX_VISITS = 400
"""Nodes that one text may come from, counted once for each way."""
_TEXTS = (
    "populated_text", "text", "prompt", "text_g", "text_l", "t5xxl", "clip_l", "clip_g", "string", "value", "text_0",
    "wildcard_text", "Text", "result",
)  # fmt: skip
_VALUES = ("value", "seed", "noise_seed", "int", "float", "number", "Number", "Value", "string", "text")
_PROMPTS = ("positive", "negative", "positive_prompt", "negative_prompt")
_CONDITIONINGS = (
    "conditioning", "conditioning_1", "conditioning_2", "conditioning_to", "conditioning_from", "conditioning1",
    "conditioning2", "cond", "cond1", "cond2",
)  # fmt: skip
_NOT_TEXT = frozenset(
    """clip model vae image pixels mask control_net latent latent_image samples noise sampler sigmas delimiter separator
    action guider lora_stack clip_vision_output style_model""".split()  # noqa: SIM905 - names, not code
)
_JOINS = ("concat", "join", "combine", "append")
_DELIMITERS = ("delimiter", "separator")
_ESCAPES = {"\\n": "\n"}


@dataclass(frozen=True)
class Node:
    id: str
    kind: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


def is_link(value: object) -> bool:
    """`[node, output]`."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int)


class Graph:
    def __init__(self, data: object) -> None:
        entries = list(data.items())[:_MAX_NODES] if isinstance(data, dict) else []
        self.nodes = {
            str(name): Node(str(name), str(node.get("class_type", "")), node["inputs"])
            for name, node in entries
            if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        }

    def source_of(self, link: object) -> Node | None:
        return self.nodes.get(str(link[0])) if is_link(link) else None  # type: ignore[index]

    def upstream_of(self, nodes: Iterable[Node]) -> list[Node]:
        """These and all that they depend on, nearest first."""
        found = {node.id: node for node in nodes}
        queue = list(found.values())
        for node in queue:  # it grows
            for value in node.inputs.values():
                source = self.source_of(value)
                if source is not None and source.id not in found:
                    found[source.id] = source
                    queue.append(source)
        return queue

    # ------------------------------------------------------------ values

    def value_of(self, node: Node, names: Sequence[str], passes: Sequence[str] = ()) -> Any:
        """The node's value under one of the names, also if another node supplies it; None if there is none.

        `passes`: inputs through which a node without the value is only passed.
        """
        for _ in range(_MAX_DEPTH):
            for name in names:
                if node.inputs.get(name) is not None:
                    value = node.inputs[name]
                    return self._constant(value) if is_link(value) else value
            upstream = next((self.source_of(node.inputs[name]) for name in passes if name in node.inputs), None)
            if upstream is None:
                return None
            node = upstream
        return None

    def _constant(self, link: object) -> Any:
        """The value of a primitive node, reached through reroutes."""
        node = self.source_of(link)
        for _ in range(_MAX_DEPTH):
            if node is None:
                return None
            value = next((node.inputs[name] for name in _VALUES if name in node.inputs), None)
            if value is not None and not is_link(value):
                return value
            links = [one for one in node.inputs.values() if is_link(one)]
            node = self.source_of(value) or (self.source_of(links[0]) if len(links) == 1 else None)
        return None

    def find(self, link: object, names: Sequence[str], passes: Sequence[str]) -> Node | None:
        """The nearest node that has an input of one of the names."""
        node = self.source_of(link)
        for _ in range(_MAX_DEPTH):
            if node is None or any(node.inputs.get(name) is not None for name in names):
                return node
            links = [value for value in node.inputs.values() if is_link(value)]
            link = next((node.inputs[name] for name in passes if is_link(node.inputs.get(name))), None)
            node = self.source_of(link if link is not None else links[0] if len(links) == 1 else None)
        return None

    def search(self, link: object, names: Sequence[str], passes: Sequence[str]) -> Any:
        """That node's value."""
        node = self.find(link, names, passes)
        return None if node is None else self.value_of(node, names)

    # ------------------------------------------------------------ texts

    def conditioning_text(self, link: object, *, is_negative: bool) -> str:
        """The text that a conditioning was encoded from; several that are combined, joined by commas."""
        texts = _TextSearch(self, is_negative).conditioning(link)
        return ", ".join(dict.fromkeys(text for text in texts if text.strip()))


class _TextSearch:
    def __init__(self, graph: Graph, is_negative: bool) -> None:
        self._graph = graph
        self._is_negative = is_negative
        self._own = ("negative", "negative_prompt") if is_negative else ("positive", "positive_prompt")
        self._visits = 0

    def conditioning(self, link: Any, depth: int = 0) -> list[str]:
        node = self._visit(link, depth)
        if node is None or "zeroout" in node.kind.casefold():
            return []
        inputs = node.inputs
        if any(name in inputs for name in _PROMPTS):
            return self._of_a_pair(node, link[1], depth)
        links = [inputs[name] for name in _CONDITIONINGS if is_link(inputs.get(name))]
        if links:
            return [text for one in links for text in self.conditioning(one, depth + 1)]
        if _is_joint(node):
            return [self.string(link, depth)]
        names = [name for name in _TEXTS if name in inputs]
        if names:  # SDXL's and Flux's encoders have several, mostly equal
            return [self.string(inputs[name], depth + 1) for name in names]
        return self.conditioning(self._selected(node), depth + 1)

    def _of_a_pair(self, node: Node, output: object, depth: int) -> list[str]:
        """Of a node with both prompts. If both come from other nodes, as with Apply ControlNet, its second output is
        the negative one; else the output tells nothing."""
        pair = [node.inputs.get("positive"), node.inputs.get("negative")]
        if all(is_link(one) for one in pair) and output in (0, 1):
            value = pair[1 if output == 1 else 0]
        else:
            value = next((node.inputs[name] for name in self._own if name in node.inputs), None)
        return (self.conditioning(value, depth + 1) if is_link(value) else []) or [self.string(value, depth + 1)]

    def string(self, value: Any, depth: int) -> str:
        """A text, or what a link to a node of text supplies."""
        if not is_link(value):
            return value if isinstance(value, str) else ""
        node = self._visit(value, depth)
        if node is None:
            return ""
        parts = [one for name, one in node.inputs.items() if name not in _NOT_TEXT]
        if _is_joint(node):
            joint = next((node.inputs[name] for name in _DELIMITERS if isinstance(node.inputs.get(name), str)), "")
            texts = [self.string(one, depth + 1) for one in parts]
            return _ESCAPES.get(joint, joint).join(text for text in texts if text)
        named = [node.inputs[name] for name in (*self._own, *_TEXTS) if name in node.inputs]
        chosen = [self._selected(node)] if "select" in node.inputs else [*named, *parts]
        return next((text for one in chosen if (text := self.string(one, depth + 1))), "")

    def _selected(self, node: Node) -> Any:
        """The input that a switch selects; else the first link that may lead to a text."""
        select = node.inputs.get("select")
        if isinstance(select, int) and f"input{select}" in node.inputs:
            return node.inputs[f"input{select}"]
        return next((value for name, value in node.inputs.items() if is_link(value) and name not in _NOT_TEXT), None)

    def _visit(self, link: Any, depth: int) -> Node | None:
        self._visits += 1
        return self._graph.source_of(link) if depth < _MAX_DEPTH and self._visits < _MAX_VISITS else None


def _is_joint(node: Node) -> bool:
    """Whether it joins texts."""
    kind = f"{node.kind} {node.inputs.get('action', '')}".casefold()
    return any(word in kind for word in _JOINS)
