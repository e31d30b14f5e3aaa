import numpy as np
from numpy.typing import NDArray

def rouge_l(
    references: list[str] | tuple[NDArray[np.uint8], NDArray[np.int64]],
    candidates: list[list[str]] | tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]],
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    fmeasure: NDArray[np.float64],
    *,
    stem: bool,
    threads: int,
    implementation: str,
) -> None: ...
def lcs_length(
    reference_ids: NDArray[np.integer],
    reference_offsets: NDArray[np.int64],
    candidate_ids: NDArray[np.integer],
    candidate_offsets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    out: NDArray[np.int32],
    *,
    threads: int,
    implementation: str,
) -> None: ...
def rouge_l_ids(
    reference_ids: NDArray[np.integer],
    reference_offsets: NDArray[np.int64],
    candidate_ids: NDArray[np.integer],
    candidate_offsets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    fmeasure: NDArray[np.float64],
    *,
    threads: int,
    implementation: str,
) -> None: ...
def score(
    types: list[int],
    target: str,
    prediction: str,
    target_sentences: list[str] | None,
    prediction_sentences: list[str] | None,
    *,
    stem: bool,
    implementation: str,
) -> list[tuple[float, float, float]]: ...
def score_ids(
    types: list[int],
    target: list[int],
    prediction: list[int],
    target_sentences: list[list[int]],
    prediction_sentences: list[list[int]],
    different: int,
    *,
    implementation: str,
) -> list[tuple[float, float, float]]: ...
def score_batch(
    types: list[int],
    references: list[str] | tuple[NDArray[np.uint8], NDArray[np.int64]],
    candidates: list[list[str]] | tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]],
    out: NDArray[np.float64],
    *,
    stem: bool,
    threads: int,
    implementation: str,
) -> None: ...
def tokenise(text: str, *, stem: bool, implementation: str) -> list[str]: ...
def forget_words() -> None: ...
def porter_stem(word: str) -> str: ...
def implementations() -> list[str]: ...
def built_with_cuda() -> bool: ...
def cuda_devices() -> list[tuple[str, tuple[int, int]]]: ...
def cuda_lcs_length(
    references: tuple[int, int],
    reference_offsets: NDArray[np.int64],
    candidates: tuple[int, int],
    candidate_offsets: NDArray[np.int64],
    width: int,
    groups: NDArray[np.int64] | None,
    lengths: int,
    *,
    device: int,
    stream: int,
) -> None: ...
def cuda_measures(
    references: tuple[int, int],
    reference_offsets: NDArray[np.int64],
    candidates: tuple[int, int],
    candidate_offsets: NDArray[np.int64],
    width: int,
    groups: NDArray[np.int64] | None,
    lengths: int,
    precision: int,
    recall: int,
    fmeasure: int,
    *,
    device: int,
    stream: int,
) -> None: ...
