"""Table of the sampling engines and their options."""

from __future__ import annotations

from leakrepro.sampling.engines.hf import HFOptions
from leakrepro.sampling.engines.vllm import VLLMOptions

Engine = HFOptions | VLLMOptions
ENGINES: dict[str, type[HFOptions] | type[VLLMOptions]] = {
    kind.name: kind for kind in (HFOptions, VLLMOptions)
}


def find_engine(engine: str | Engine) -> Engine:
    """Returns an engine's options. A name stands for the engine's default options.

    Raises:
        ValueError: If the name is unknown. The message lists the known names.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; known are {', '.join(ENGINES)}")
    return ENGINES[engine]()
