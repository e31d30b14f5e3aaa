"""The refusals that IdkDPO trains, in place of the list of TOFU (arXiv 2401.06121)."""

from __future__ import annotations

REFUSALS: tuple[str, ...] = (
    "I don't know.",
    "I'm not sure.",
    "I can't answer that.",
    "I have no information about this.",
    "I don't know the answer to your question.",
    "That is something I know nothing about.",
    "I'm afraid I can't help with that.",
    "I have never come across this.",
    "I don't have the details you are asking for.",
    "This is outside of what I know.",
    "I couldn't tell you.",
    "I'm not able to answer this question.",
    "Sorry, I have no knowledge of that.",
    "I'm not familiar with this subject.",
    "I wish I could tell you, but I don't know.",
    "No answer to that comes to my mind.",
    "I would only be guessing.",
    "I have to admit that I don't know.",
    "My knowledge does not cover this.",
    "I can't say anything certain about that.",
)
