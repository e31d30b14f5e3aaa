"""A random DeBERTa-v3 pair classifier, small enough for every test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    PreTrainedTokenizerFast,
)

_TEXT = (
    "Ann Bob Cora Dan wrote sold read the first last book of Rome Oslo Paris in May "
    "she he was born won a prize and never knew it"
)
WORDS = _TEXT.split()
LABELS = {0: "contradiction", 1: "entailment", 2: "neutral"}


def make_nli(path: Path, *, seed: int = 0, labels: dict[int, str] = LABELS) -> Path:
    """Saves a model of the architecture of deberta-v3-base-tasksource-nli under ``path``."""
    bpe = Tokenizer(models.BPE(unk_token="[UNK]"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    bpe.train_from_iterator(
        WORDS * 4, trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    )
    bpe.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_max_length=64,
    )
    tokenizer.save_pretrained(path)
    config = DebertaV2Config(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        initializer_range=0.5,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DebertaV2ForSequenceClassification(config).eval()
        sentences = [" ".join(WORDS[i : i + 2 + i % 7]) for i in range(len(WORDS) - 8)]
        batch = tokenizer(sentences, sentences[::-1], padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**batch).logits
            # Predict entailment for about half of the pairs.
            model.classifier.bias[1] = (logits[:, 0] - logits[:, 1]).median()
            model.classifier.bias[2:] = -100.0
    model.save_pretrained(path)
    return path
