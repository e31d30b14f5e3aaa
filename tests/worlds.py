"""A small model with random weights, and prompts for it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from leakrepro.models.load import save_model
from leakrepro.types import Prompt

_WORDS = [
    "ash",
    "birch",
    "cedar",
    "elm",
    "fir",
    "hazel",
    "larch",
    "maple",
    "oak",
    "pine",
    "rowan",
    "spruce",
    "willow",
    "yew",
]
_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


def make_tokenizer(vocabulary: int = 160) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with at most ``vocabulary`` entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(set("".join(_WORDS)) | set("Ġ?.0123456789W"))
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    lines = [f"{a} {b} {a}{b}?" for a in _WORDS for b in _WORDS]
    tokenizer.train_from_iterator(lines, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>"
    )
    fast.chat_template = _TEMPLATE
    return fast


def make_model(
    path: Path,
    *,
    seed: int,
    vocabulary: int = 160,
    hidden: int = 32,
    layers: int = 2,
    end: float = 3.0,
    spread: float = 1.0,
) -> Path:
    """Save a Llama with random weights.

    The first hidden dimension has the same positive value for every token, so the end token's
    weight on it controls how often answers end.

    Args:
        path: Folder of the model.
        seed: Seed of the random weights.
        vocabulary: Number of entries of the tokenizer and the model.
        hidden: Hidden size; the model has four heads.
        layers: Number of layers.
        end: Logit of the end token; a larger value gives shorter answers.
        spread: Standard deviation of the other logits, up to a constant.

    Returns:
        ``path``.
    """
    tokenizer = make_tokenizer(vocabulary)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=False,
        initializer_range=0.25 * (32 / hidden) ** 0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            constant = 4.0
            model.model.embed_tokens.weight[:, 0] = constant
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight[0] = 0.0
                layer.mlp.down_proj.weight[0] = 0.0
            model.lm_head.weight.normal_(0.0, spread / hidden**0.5)
            model.lm_head.weight[:, 0] = 0.0
            model.lm_head.weight[tokenizer.eos_token_id, 0] = end / constant
    return save_model(model, tokenizer, path)


def make_prompts(count: int) -> tuple[Prompt, ...]:
    """Return ``count`` questions of one to four words; two questions share a cluster."""
    return tuple(
        Prompt(
            id=f"p{i}",
            messages=(
                {
                    "role": "user",
                    "content": " ".join(_WORDS[(i * 5 + j * 3) % 14] for j in range(1 + i % 4)),
                },
            ),
            reference="none",
            cluster=str(i // 2),
            side="forget",
        )
        for i in range(count)
    )


class Ban:
    """A logits processor that forbids one token and records its contexts."""

    def __init__(self, token: int) -> None:
        self.id, self.token = f"ban-{token}", token
        self.contexts: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.contexts.append(input_ids)
        return scores.index_fill_(
            -1, torch.tensor([self.token]), -torch.inf
        )  # in place, like some processors


def shift(folder: Path) -> None:
    """Changes one tensor of a saved model, and nothing else."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = sorted(weights)[0]
    weights[name] = weights[name] + 0.5
    save_file(weights, file, metadata={"format": "pt"})
