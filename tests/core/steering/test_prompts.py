"""Prompts: plain, or in a chat template, with whose turn each position is in."""

import pytest

from core.errors import UsageError
from core.options import TokensConfig
from core.steering.prompts import read

USUAL = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
DEFAULT_SYSTEM = "{% if messages[0]['role'] != 'system' %}<system>as usual</>{% endif %}" + USUAL
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}{{ bos_token }}" + USUAL
)


@pytest.fixture
def chat(model):
    """Give the bytes' model a template, in the environment that transformers renders one in."""
    from transformers.utils.chat_template_utils import render_jinja_template

    class Tokenizer:
        chat_template = None

        def apply_chat_template(self, messages, *, tokenize, add_generation_prompt):
            [text], _ = render_jinja_template(
                conversations=[messages], chat_template=self.chat_template, bos_token="",
                add_generation_prompt=add_generation_prompt,
            )  # fmt: skip
            return text

    model.tokens._tokenizer = Tokenizer()

    def chat(template):
        model.tokens._tokenizer.chat_template = template
        return model

    return chat


def turns(prompt, model):
    """The text of each role's positions."""
    ids, found = prompt.block.ids.tolist(), {}
    for token, role in zip(ids, prompt.roles, strict=True):
        found.setdefault(role, []).append(token)
    return {role: model.tokens.decode(tokens) for role, tokens in found.items()}


def test_a_plain_prompt_is_begun_with_bos_and_has_no_roles(model, config, ids):
    prompt = read("abc", model, config)
    assert prompt.block.ids.tolist() == [ids.bos, *b"abc"] and len(prompt) == 4
    assert prompt.block.counted.tolist() == [False, True, True, True] and prompt.roles is None
    assert prompt.uncounted == {ids.bos, ids.eos}
    assert read("abc", model, TokensConfig(skip_special=False)).uncounted == frozenset()


def test_each_position_of_a_chat_is_in_somebodys_turn_its_head_included(chat, config):
    model = chat(USUAL)
    prompt = read("hi there", model, config, chat=True, system="be brief")
    assert turns(prompt, model) == {
        "system": "<system>be brief</>", "user": "<user>hi there</>", "assistant": "<assistant>",
    }  # fmt: skip


def test_without_a_system_prompt_the_template_says_what_it_says_by_itself(chat, config):
    model = chat(DEFAULT_SYSTEM)
    assert turns(read("hi", model, config, chat=True), model) == {
        "system": "<system>as usual</>", "user": "<user>hi</>", "assistant": "<assistant>",
    }  # fmt: skip
    assert set(turns(read("hi", chat(USUAL), config, chat=True), model)) == {"user", "assistant"}


def test_a_template_that_takes_no_system_prompt_is_told_of_in_its_own_words(chat, config):
    model = chat(NO_SYSTEM)
    assert turns(read("hi", model, config, chat=True), model)["user"] == "<user>hi</>"
    with pytest.raises(UsageError, match="does not take this chat: System role not supported"):
        read("hi", model, config, chat=True, system="be brief")


def test_a_model_without_a_template_is_told_of(chat, config):
    with pytest.raises(UsageError, match="no chat template: give the prompt as plain text"):
        read("hi", chat(None), config, chat=True)


def test_what_is_too_long_is_refused_with_the_numbers_the_template_counted_in(chat, config):
    model = chat(USUAL)
    frame = len(b"<user></><assistant>")
    read("a" * (190 - frame), model, config, chat=True, room=10)
    with pytest.raises(
        UsageError, match="191 tokens of text and 10 to generate are more than the 200 that bytes reads"
    ):
        read("a" * (191 - frame), model, config, chat=True, room=10)
