"""The word and nothing but the word; who is out of what; and alarms, which are never judged."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gateway.opt_out import OPT_IN_WORDS, OPT_OUT_WORDS, OptOuts, OptOutWords, is_alarm

WORDS = OptOutWords()
LI, WANG = b"l" * 16, b"w" * 16

VERDICTS = {
    **dict.fromkeys(OPT_OUT_WORDS, "out"),
    **dict.fromkeys(OPT_IN_WORDS, "in"),
    # Case, width, blanks.
    "td": "out",
    "Td": "out",
    "ｔｄ": "out",
    "ＴＤ": "out",
    "００００": "out",
    "js": "in",
    " td\r\n": "out",
    "\u3000退订\u3000": "out",
    "\u200b退订\ufeff": "out",
    "\x00TD\x00": "out",
    # Punctuation at the ends, Chinese and ASCII.
    "退订！": "out",
    "退订。。。": "out",
    "“退订”": "out",
    "【退订】": "out",
    "（Ｒ）": "out",
    "TD~": "out",
    "退订～": "out",
    "<N>": "out",
    "+T+": "out",
    "  ,qx . ": "out",
    "恢复！": "in",
    # Never a part of anything.
    "我要退订吗": "",
    "退订吗": "",
    "不退订": "",
    "退订 退订": "",
    "T D": "",
    "退.订": "",
    "TDX": "",
    "RR": "",
    "0": "",
    "000": "",
    "00000": "",
    "订": "",
    "否": "",
    "": "",
    "。": "",
    " " * 70: "",
    # Compatibility forms are the letters they stand for.
    "Ⓡ": "out",
    "ⓣⓓ": "out",
    # Other letters that look alike are other letters: Cyrillic and Greek.
    "Т": "",
    "Ν": "",
    # Symbols that are no punctuation mean something.
    "退订😂": "",
    "R²": "",
    # One part.
    "退订" + "！" * 68: "out",
    "退订" + "！" * 69: "",
}


@pytest.mark.parametrize(("text", "verdict"), VERDICTS.items())
def test_what_a_reply_says(text: str, verdict: str) -> None:
    assert WORDS.judge(text) == verdict


def test_words_of_the_configuration_are_normalised_too() -> None:
    words = OptOutWords([" 退訂 ", "ｓｔｏｐ"], ["start!"])
    assert [words.judge(text) for text in ("退訂", "Stop", "START", "TD", "JS")] == [
        "out",
        "out",
        "in",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("opt_out", "opt_in", "reason"),
    [
        (["TD", ""], [], "'' has no letter or digit, a word needs one"),
        (["TD"], [" ！"], "' ！' has no letter or digit, a word needs one"),
        (["TD"], ["JS", "ｔｄ"], "'ｔｄ' opts out and in, a word can do one of both"),
    ],
)
def test_words_that_cannot_be(opt_out: list[str], opt_in: list[str], reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 -- the whole text is compared
        OptOutWords(opt_out, opt_in)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("destination", "alarm"),
    [
        (b"12110", True),
        (b"12110371", True),
        (b"121100371", True),
        (b"12110x", True),
        (b"1211", False),
        (b"12111", False),
        (b"10639110", False),
        (b"1063912110", False),
        (b"012110", False),
        (b"", False),
    ],
)
def test_what_is_an_alarm(destination: bytes, alarm: bool) -> None:
    assert is_alarm(destination) is alarm


def test_a_script_of_opt_outs() -> None:
    opt_outs = OptOuts(entries_max=2)
    # (subscriber, account, out, index of the record, entries after, accounts closed after)
    script = [
        (LI, "oa", False, 1, [], ""),
        (LI, "oa", True, 2, [(LI, "oa", 2)], ""),
        (LI, "oa", True, 3, [(LI, "oa", 3)], ""),
        (LI, "oa", False, 2, [(LI, "oa", 3)], ""),  # read again at a restart, and known to be over
        (LI, "oa", True, 2, [(LI, "oa", 3)], ""),
        (LI, "hukou", True, 4, [(LI, "oa", 3), (LI, "hukou", 4)], ""),
        (LI, "hukou", True, 5, [(LI, "oa", 3), (LI, "hukou", 5)], ""),
        (WANG, "hukou", True, 6, [(LI, "oa", 3), (LI, "hukou", 5)], "hukou"),
        (LI, "oa", False, 7, [(LI, "hukou", 5)], "hukou"),
        (WANG, "oa", True, 8, [(LI, "hukou", 5), (WANG, "oa", 8)], "hukou"),
        (LI, "hukou", False, 9, [(WANG, "oa", 8)], "hukou"),
        (WANG, "oa", False, 10, [], "hukou"),
    ]
    for number_hash, account, out, index, entries, closed in script:
        opt_outs.note(number_hash, account, out, index)
        assert list(opt_outs.entries()) == entries, index
        assert len(opt_outs) == len(entries), index
        assert opt_outs.closed == ({closed} if closed else set()), index
        known = {(each, name) for each, name, _ in entries}
        for subscriber in (LI, WANG):
            for name in ("oa", "hukou", "jiaoguan"):
                expected = (subscriber, name) in known or name == closed
                assert opt_outs.is_out(subscriber, name) is expected, index


def test_an_account_that_is_closed_is_said_once() -> None:
    opt_outs = OptOuts(entries_max=1)
    with capture_logs() as said:
        for index, account in enumerate(("oa", "hukou", "hukou", "oa"), 1):
            opt_outs.note(bytes([index]) * 16, account, True, index)
    assert [(line["log_level"], line["account"]) for line in said] == [("error", "hukou"), ("error", "oa")]


def test_entries_are_noted_again() -> None:
    opt_outs = OptOuts()
    opt_outs.note(WANG, "oa", True, 7)
    opt_outs.note(LI, "oa", True, 9)
    again = OptOuts()
    for number_hash, account, index in opt_outs.entries():
        again.note(number_hash, account, True, index)
    assert list(again.entries()) == [(WANG, "oa", 7), (LI, "oa", 9)]
