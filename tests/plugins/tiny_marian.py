"""A tiny Marian model that knows a few phrases, trained in a second; the classes of model and tokenizer are the real
ones."""

import json
from pathlib import Path
from typing import Any

PHRASES = {
    "ein roter Fuchs": "a red fox",
    "ein blaues Haus": "a blue house",
    "im Schnee": "in the snow",
    "unscharf": "blurry",
}
EOS, UNKNOWN, PAD = "</s>", "<unk>", "<pad>"
STEPS = 60


def save_marian(folder: Path) -> Path:
    """The model with its tokenizer, as `from_pretrained` loads them."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    torch.set_num_threads(1)
    folder.mkdir()
    tokenizer = _save_tokenizer(folder)
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=32,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id, forced_eos_token_id=None, dropout=0.0,
    )  # fmt: skip
    model = MarianMTModel(config)
    inputs = tokenizer(list(PHRASES), text_target=list(PHRASES.values()), return_tensors="pt", padding=True)
    inputs["labels"][inputs["labels"] == tokenizer.pad_token_id] = -100
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path) -> Any:
    import sentencepiece
    from transformers import MarianTokenizer

    pieces = []
    for name, texts in (("source", list(PHRASES)), ("target", list(PHRASES.values()))):
        (folder / f"{name}.txt").write_text("\n".join(texts) + "\n")
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / f"{name}.txt"), model_prefix=str(folder / name), vocab_size=60, model_type="char",
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        pieces += [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    known = dict.fromkeys([EOS, UNKNOWN, *(piece for piece in pieces if not piece.startswith("<")), PAD])
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(known)}))
    return MarianTokenizer(
        source_spm=str(folder / "source.spm"), target_spm=str(folder / "target.spm"), vocab=str(folder / "vocab.json")
    )
