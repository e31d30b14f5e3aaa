"""The engines that draw samples, each with its options."""

from __future__ import annotations

from leakrepro.sampling.engines.hf import HFOptions
from leakrepro.sampling.engines.vllm import VLLMOptions

Engine = HFOptions | VLLMOptions
ENGINES: dict[str, type[HFOptions] | type[VLLMOptions]] = {
    kind.name: kind for kind in (HFOptions, VLLMOptions)
}


def find_engine(engine: str | Engine) -> Engine:
    """An engine's options as they are, or its defaults by name.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; known are {', '.join(ENGINES)}")
    return ENGINES[engine]()
