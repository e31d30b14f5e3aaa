from .models import make_engine, make_models, method_options, options_for, rule_options
from .schema import (
    Base,
    Hosted,
    ModelSpec,
    Profile,
    Rule,
    Trained,
    Tuning,
    Unlearned,
    fill,
    load_profile,
    profile_names,
)
from .strict_yaml import parse_yaml

__all__ = [
    "Base",
    "Hosted",
    "ModelSpec",
    "Profile",
    "Rule",
    "Trained",
    "Tuning",
    "Unlearned",
    "fill",
    "load_profile",
    "make_engine",
    "make_models",
    "method_options",
    "options_for",
    "parse_yaml",
    "profile_names",
    "rule_options",
]
