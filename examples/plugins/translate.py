"""Translates prompts before they are drawn, with a small translation model. Copy this file to `plugins/translate.py` in
the data directory.

```toml
[plugins.translate]
model = "Helsinki-NLP/opus-mt-de-en"
languages = ["de"]
time_limit_s = 60 # the first prompt loads the model
```

The model is a folder, or a repository in the Hub's cache: `hf download Helsinki-NLP/opus-mt-de-en`. Easel downloads
nothing for a plugin. Models of the Marian family also need `pip install sentencepiece`. The model runs on the processor
in a process of its own, so the server imports no torch and a translation never waits for a picture.
"""

import re

SETTINGS = {
    "model": "Helsinki-NLP/opus-mt-de-en",
    "languages": ["de"],  # of people's apps whose prompts are translated; ["*"]: of all
    "negative": True,  # negative prompts as well
    "time_limit_s": 60.0,
}
SYNTAX = re.compile(r"(<[^<>]*>|__[\w/-]+__|\\?[()\[\]{}|]+|:(?:\s*[-+]?[\d.]+)?|\bBREAK\b)")
"""What is kept as it is: tags, wildcards, brackets, weights."""
EDGES = re.compile(r"([\s,.;]*)(.*?)([\s,.;]*)", re.DOTALL)
LETTERS = re.compile(r"[^\W\d_]{2}")
MAX_TOKENS = 200
loaded: dict[str, tuple] = {}
"""In the plugin's own process: the tokenizer and the model by name."""


async def easel_prompt(plugin, prompt):
    if prompt.is_negative and not plugin.settings["negative"]:
        return None
    languages = plugin.settings["languages"]
    if "*" not in languages and prompt.by.locale.partition("-")[0] not in languages:
        return None
    parts = SYNTAX.split(prompt.text)
    places = [place for place, part in enumerate(parts) if place % 2 == 0 and LETTERS.search(part)]
    if not places:
        return None
    edges = {place: EDGES.fullmatch(parts[place]).groups() for place in places}
    words = [text for _, text, _ in edges.values()]
    translations = await plugin.run_in_process(translate, plugin.settings["model"], words)
    for (place, (before, _, after)), text in zip(edges.items(), translations, strict=True):
        parts[place] = before + text + after
    translated = "".join(parts)
    return translated if translated != prompt.text else None


def translate(name, texts):
    """Runs in the plugin's own process, where torch may be imported."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    if name not in loaded:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
        loaded[name] = tokenizer, AutoModelForSeq2SeqLM.from_pretrained(name, local_files_only=True).eval()
    tokenizer, model = loaded[name]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        outputs = model.generate(**inputs, max_new_tokens=MAX_TOKENS, num_beams=1, do_sample=False)
    return [text.strip() for text in tokenizer.batch_decode(outputs, skip_special_tokens=True)]
