"""What was said so far, kept within what the model can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from finetune.data.examples import Message
from finetune.data.shorten import render, shorten


@dataclass
class History:
    """Turns of a conversation; `system` stands before them when it is not empty."""

    system: str = ""
    turns: list[Message] = field(default_factory=list)

    def ask(self, text: str) -> None:
        """Add what the user says."""
        self.turns.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add what the model said."""
        self.turns.append({"role": "assistant", "content": text})

    def clear(self) -> None:
        """Forget what was said; the system message stays."""
        self.turns.clear()

    def messages(self) -> list[Message]:
        """As the chat template takes them."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    def fit(self, tokenizer: Any, limit: int | None) -> tuple[list[int], list[str]]:
        """Token ids of at most `limit`, an answer to follow, and sentences on what that cost.

        The oldest exchanges are forgotten first; a question too long alone loses its middle.
        """
        forgotten = 0
        while limit and len(self.turns) > 2 and len(self._ids(tokenizer)) > limit:
            del self.turns[:2]
            forgotten += 1
        notes = [f"forgot the oldest {forgotten} of the exchanges to make room"] * bool(forgotten)
        fitted, cut = shorten(tokenizer, self.messages(), limit, answer_follows=True)
        if cut:
            notes.append("the question lost its middle to fit")
        return render(tokenizer, fitted, answer_follows=True), notes

    def _ids(self, tokenizer: Any) -> list[int]:
        return render(tokenizer, self.messages(), answer_follows=True)
