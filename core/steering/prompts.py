"""A prompt as the model reads it: plain text, or a user's turn in the model's chat template.

Owns whose turn each position is in. Which positions count is `core.tokens`'.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import UsageError
from core.models.language import LanguageModel, TextTokenizer
from core.options import TokensConfig
from core.tokens import Block, prompt_block, whole_block

Roles = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What is read before anything is generated."""

    block: Block
    roles: Roles | None
    """Whose turn each position is in, `system`, `user` or `assistant`, its head included; None: no chat template."""
    uncounted: frozenset[int]
    """Generated tokens that the SAE is not defined on."""

    def __len__(self) -> int:
        return len(self.block.ids)

    def followed(self, then: Sequence[int]) -> tuple[list[int], list[bool]]:
        """The tokens read, those of the prompt and then these, and whether each counts."""
        counted = [*self.block.counted.tolist(), *(token not in self.uncounted for token in then)]
        return [*self.block.ids.tolist(), *then], counted


def read(
    text: str, model: LanguageModel, config: TokensConfig, *, chat: bool = False, system: str = "", room: int = 0
) -> Prompt:
    """The prompt, with `room` for so many more tokens.

    Raises UsageError for a text without a token or too long for the model, and for a model without a chat template.
    """
    if chat:
        block, roles = _turns(text, system, model.tokens, config)
    else:
        block, roles = prompt_block(text, model.tokens, config), None
    n = len(block.ids)
    if n + room > model.context:
        wanted = f"{n} tokens of text and {room} to generate" if room else f"{n} tokens of text"
        raise UsageError(
            f"{wanted} are more than the {model.context} that {model.name} reads",
            hint="shorten the text" + (", or generate fewer tokens" if room else ""),
        )
    return Prompt(block, roles, model.tokens.special_ids if config.skip_special else frozenset())


def _turns(text: str, system: str, tokens: TextTokenizer, config: TokensConfig) -> tuple[Block, Roles]:
    """The chat up to where the assistant's answer begins.

    A template renders a chat as one text, without telling whose turn is where: turns are measured by what a chat gets
    longer by with one more of them.
    """
    turns = [("system", system)] * bool(system) + [("user", text)]
    chat = tokens.chat(turns, answer=True)
    asked = len(tokens.chat(turns, answer=False))
    answered = [*turns, ("assistant", "a")]
    users = len(tokens.chat([*answered, ("user", text)], answer=False)) - len(tokens.chat(answered, answer=False))
    ends = [chat[: max(0, asked - users)], chat[:asked], chat]
    # What a shell passes on may hold broken bytes, which no tokenizer takes.
    one, two, three = tokens.encode([end.encode("utf-8", "replace").decode("utf-8") for end in ends])
    roles: Roles = tuple(
        "system" if i < len(one) else "user" if i < len(two) else "assistant" for i in range(len(three))
    )
    return whole_block(three, tokens, config), roles
