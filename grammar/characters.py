"""What to say about characters and words that the language does not have."""

from __future__ import annotations

import re

LOOKALIKES = {
    "≤": "<=", "≥": ">=", "≠": "!=", "·": "*", "×": "*", "∗": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-",
    "—": "-", "→": "->", "√": "sqrt(...)", "∑": "sum[...](...)", "Σ": "sum[...](...)", "∏": "prod[...](...)",
    "²": "** 2", "³": "** 3", "∧": "and", "∨": "or", "¬": "not",
    "′": "a name such as q2", "’": "a name such as q2",
    "“": "nothing: there are no strings", "”": "nothing: there are no strings", "\xa0": "a plain space",
}  # fmt: skip

CHARACTERS = {
    "@": ("There is no @ here.", "Write the contraction with indices: q[i, c] * k[j, c]."),
    ";": ("There is no ; here.", "Put each statement on a line of its own."),
    ".": ("There are no attributes here.", "Call functions by their plain names: exp(x), not torch.exp(x)."),
    '"': ("There are no strings here.", "An equation holds numbers, names, reads and functions only."),
    "'": ("There are no strings here.", "An equation holds numbers, names, reads and functions only."),
    "\\": (
        "A line is not continued with \\.",
        "A line continues inside brackets: put the expression in ( ).",
    ),
    "{": ("There are no braces here.", "Group with ( ), index with [ ]."),
    "}": ("There are no braces here.", "Group with ( ), index with [ ]."),
    "&": ("There is no & here.", "Join conditions with a comma in a domain, or with and."),
    "|": ("There is no | here.", "Join conditions with or."),
    "~": ("There is no ~ here.", "Negate a condition with not."),
    "!": ("There is no ! here.", "Negate a condition with not; unequal is !=."),
    "^": ("There is no ^ here.", "A power is written **."),
    "`": ("There are no quotation marks here.", "Remove it."),
    "$": ("There is no $ here.", "Names are made of letters, digits and _."),
    "?": ("There is no ? here.", "A choice is written where(condition, a, b)."),
}

LONGER = (
    ('"""', "There are no strings here.", "A comment begins with #."),
    ("'''", "There are no strings here.", "A comment begins with #."),
    (
        "...",
        "There is no ... here.",
        "Leading dimensions broadcast by themselves; name an index for every axis.",
    ),
    ("&&", "There is no && here.", "Join conditions with a comma in a domain, or with and."),
    ("||", "There is no || here.", "Join conditions with or."),
)

KEYWORDS = {
    "if": "A choice is written where(condition, a, b).",
    "else": "A choice is written where(condition, a, b).",
    "elif": "A choice is written where(condition, a, b).",
    "for": "Indices run by themselves; a sum over j is sum[j](...).",
    "while": "Indices run by themselves; a recurrence is s[i] = ... s[i - 1] ...",
    "return": "Outputs are the names after ->; define each by an equation: o[i] = ...",
    "lambda": "A program is written with def; give the symbol another name, such as lam.",
    "is": "Equality is written ==.",
    "in": "A range is written as comparisons: 0 <= j < i.",
    "True": "Write 1, or leave the condition out.",
    "False": "Write 0.",
    "None": "Every name must be defined; leave out what is absent.",
    "import": "A text holds programs only; there is nothing to import.",
    "from": "A text holds programs only; there is nothing to import.",
}

_AUGMENTED = re.compile(r"(?:\+|-|\*\*?|//?|%|@|&|\||\^|<<|>>|:)=(?!=)")


def describe_character(text: str, position: int) -> tuple[int, str, str]:
    """For text that is no token: how wide it is, what is wrong, and what to write instead."""
    augmented = _AUGMENTED.match(text, position)
    if augmented:
        value = augmented.group()
        return (
            len(value),
            f"There is no {value} here.",
            "Each tensor is defined once, by one equation with =.",
        )
    for value, message, hint in LONGER:
        if text.startswith(value, position):
            return len(value), message, hint
    character = text[position]
    if character in LOOKALIKES:
        return 1, f"{character!r} is not a character of the language.", f"Write {LOOKALIKES[character]}."
    if character in CHARACTERS:
        return 1, *CHARACTERS[character]
    if character.isalpha():
        end = position
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        shown = text[position:end][:40]
        return end - position, f"{shown} is not an ASCII name.", "Names are made of a-z, A-Z, 0-9 and _."
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return (
        1,
        f"The character {shown} is not of the language.",
        "Remove it; names are made of a-z, A-Z, 0-9 and _.",
    )


def keyword_hint(word: str) -> tuple[str, str]:
    """What to say about a Python keyword."""
    hint = KEYWORDS.get(word, f"If it is a name, choose another one, such as {word}_.")
    return f"{word} is a Python keyword, and reserved.", hint
