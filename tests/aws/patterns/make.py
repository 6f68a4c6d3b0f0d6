"""make.py: writes operators.jsonl: every operator on every kind of value, in every position.

What is expected follows from the few lines in `holds`, written from the documentation and independent of
Weir's own code. Sources, as named in the cases:
  operators   docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
  arrays      docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-arrays.html
  null        docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-null-values.html
  ruler       github.com/aws/event-ruler, README.md

usage: python3 tests/aws/patterns/make.py > tests/aws/patterns/operators.jsonl
"""
import ipaddress
import json
import re
from decimal import Decimal

ABSENT = object()


class Number(str):
    """A number as it is written."""


def text(value):
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {text(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def leaves(value):
    """Arrays are their elements; objects are no values of the field that holds them."""
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each)]
    return [] if value is ABSENT or isinstance(value, dict) else [value]


def address(value):
    if not isinstance(value, str) or isinstance(value, Number):
        return None
    try:
        a = ipaddress.ip_address(value)
    except ValueError:
        return None
    return getattr(a, "ipv4_mapped", None) or a


def is_text(value):
    return isinstance(value, str) and not isinstance(value, Number)


def same(want, value):
    if isinstance(want, Number) or isinstance(value, Number):
        return isinstance(want, Number) and isinstance(value, Number) and Decimal(want) == Decimal(value)
    if is_text(want) and is_text(value) and address(want):
        return address(want) == address(value)
    return type(want) is type(value) and want == value


def fold(value):
    return value.lower().upper()


def wild(want, value):
    expression = "".join(".*" if part == "*" else re.escape(part[-1])
                         for part in re.findall(r"\\.|.", want, re.S))
    return re.fullmatch(expression, value, re.S) is not None


def texts(test, want, value):
    return is_text(value) and any(test(each, value) for each in (want if isinstance(want, list) else [want]))


def affix(op, want, value):
    if isinstance(want, dict):
        want, value = fold(want["equals-ignore-case"]), fold(value)
    return value.startswith(want) if op == "prefix" else value.endswith(want)


TESTS = {
    "prefix": lambda want, value: affix("prefix", want, value),
    "suffix": lambda want, value: affix("suffix", want, value),
    "equals-ignore-case": lambda want, value: fold(want) == fold(value),
    "wildcard": wild,
    "exactly": lambda want, value: want == value,
}
COMPARE = {"=": lambda a, b: a == b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
           ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}


def holds(test, value):
    """One alternative of a pattern on one value."""
    if not isinstance(test, dict):
        return same(test, value)
    (op, want), = test.items()
    if op in TESTS:
        return texts(TESTS[op], want, value)
    if op == "exists":
        return want
    if op == "cidr":
        a = address(value)
        net = ipaddress.ip_network(want, strict=False)
        return a is not None and a.version == net.version and a in net
    if op == "numeric":
        pairs = zip(want[::2], want[1::2])
        return isinstance(value, Number) and all(COMPARE[o](Decimal(value), Decimal(n)) for o, n in pairs)
    if isinstance(want, dict):
        (op, want), = want.items()
        return not texts(TESTS[op], want, value)
    return not any(type(each) is type(value) and same_but(each, value)
                   for each in (want if isinstance(want, list) else [want]))


def same_but(want, value):
    """anything-but compares texts as texts, addresses too."""
    return Decimal(want) == Decimal(value) if isinstance(want, Number) else want == value


def expected(tests, value):
    found = leaves(value)
    if not found:
        return any(isinstance(t, dict) and t.get("exists") is False for t in tests)
    return any(holds(t, v) for t in tests for v in found if not (isinstance(t, dict) and t.get("exists") is False))


N = Number
VALUES = ["", "a", "A", "ab", "abc", "ABC", "aXbXc", "b", "ba", "1", "1.0", "true", "null", "é", "É", "straße", "a*b",
          "a\\b", "a\"b", "a b", "\n", "😀", "10.0.0.1", "10.0.1.1", "::ffff:a00:1", "fe80::1", N("0"), N("-0.0"), N("1"),
          N("1.0"), N("1e0"), N("10e-1"), N("2"), N("5"), N("300"), N("300.0"), N("3e2"), N("-5"), N("0.1"),
          N("0.100000"), N("123456789012"), N("5000000000"), N("-5e9"), N("4999999999.999999"), True, False, None,
          [], {}, {"z": "a"}, [[]], [{}], ["a"], ["b", "a"], [N("1"), "a"], [None], [["a"]], [{"z": "a"}], ["a", []],
          [N("0"), N("9")], ABSENT]
ALTERNATIVES = [
    ["a"], [""], ["A", "b"], ["1"], ["true"], ["null"], ["é"], ["10.0.0.1"], ["fe80::1"], ["a\"b"], ["😀"], ["\n"],
    [N("1")], [N("1.0")], [N("0")], [N("300.0")], [N("0.1")], [N("5e9")], [N("123456789012")], [True], [False], [None],
    ["a", N("1"), None], [None, ""], [{"exactly": "a"}],
    [{"prefix": "a"}], [{"prefix": ""}], [{"prefix": "é"}], [{"prefix": {"equals-ignore-case": "AB"}}],
    [{"suffix": "c"}], [{"suffix": ""}], [{"suffix": "\"b"}], [{"suffix": {"equals-ignore-case": "C"}}],
    [{"equals-ignore-case": "AbC"}], [{"equals-ignore-case": ""}], [{"equals-ignore-case": "É"}],
    [{"wildcard": "a*"}], [{"wildcard": "*"}], [{"wildcard": ""}], [{"wildcard": "*b"}], [{"wildcard": "a*b*c"}],
    [{"wildcard": "a\\*b"}], [{"wildcard": "a\\\\b"}], [{"wildcard": "abc"}], [{"wildcard": "*0.*"}],
    [{"numeric": ["=", N("1")]}], [{"numeric": ["=", N("3.0e2")]}], [{"numeric": ["<", N("1")]}],
    [{"numeric": ["<=", N("1")]}], [{"numeric": [">", N("1")]}], [{"numeric": [">=", N("1")]}],
    [{"numeric": [">", N("0"), "<", N("5")]}], [{"numeric": [">=", N("0"), "<=", N("5")]}],
    [{"numeric": [">", N("0"), "<=", N("300")]}], [{"numeric": [">=", N("-5e9"), "<", N("5e9")]}],
    [{"numeric": [">", N("4999999999.999998"), "<", N("5000000000")]}],
    [{"anything-but": "a"}], [{"anything-but": ["a", "b"]}], [{"anything-but": ""}], [{"anything-but": N("1")}],
    [{"anything-but": [N("1"), N("300.0")]}], [{"anything-but": "10.0.0.1"}], [{"anything-but": {"prefix": "a"}}],
    [{"anything-but": {"prefix": ["a", "b"]}}], [{"anything-but": {"suffix": "c"}}],
    [{"anything-but": {"suffix": ["b", "c"]}}], [{"anything-but": {"equals-ignore-case": "ABC"}}],
    [{"anything-but": {"equals-ignore-case": ["a", "É"]}}], [{"anything-but": {"wildcard": "a*b"}}],
    [{"anything-but": {"wildcard": ["a*", "*1"]}}], [{"exists": True}], [{"exists": False}],
    [{"exists": False}, "a"], [{"exists": True}, "zz"], [{"cidr": "10.0.0.0/24"}], [{"cidr": "10.0.0.9/8"}],
    [{"cidr": "0.0.0.0/0"}], [{"cidr": "fe80::/10"}], [{"cidr": "::/0"}], [{"prefix": "b"}, {"numeric": ["=", N("1")]}],
]


def put(value, place):
    """The field in one of the places that mean the same: pattern's keys, event."""
    member = {} if value is ABSENT else {"f": value}
    if place == 0:
        return ["f"], member
    if place == 1:
        return ["d", "f"], {"d": member, "f": "other"}
    if place == 2:
        return ["d.f"], {"d": {**member, "e": N("1")}}
    if place == 3:
        return ["d", "f"], {f"d.{k}": v for k, v in member.items()}
    if place == 4:
        return ["d", "f"], {"d": [{"e": N("1")}, {**member, "e": N("2")}, "f"]}
    return ["d", "e", "f"], {"d": [[{"e": member}], []], "e": {"f": "other"}}


def name(alternatives, value):
    kind = "absent" if value is ABSENT else "number" if isinstance(value, Number) else type(value).__name__
    kind = {"str": "string", "bool": "boolean", "NoneType": "null", "list": "array", "dict": "object"}.get(kind, kind)
    ops = [next(iter(a)) if isinstance(a, dict) else "equals" for a in alternatives]
    return f"{' or '.join(dict.fromkeys(ops))} on {kind}"


def main():
    number = 0
    for alternatives in ALTERNATIVES:
        for value in VALUES:
            keys, event = put(value, number % 6)
            pattern = alternatives
            for key in reversed(keys):
                pattern = {key: pattern}
            is_array = isinstance(value, list)
            source = "arrays" if is_array else "null" if value in (None, "") else "operators" if number % 6 < 2 else "ruler"
            print(json.dumps({"name": name(alternatives, value), "source": source, "pattern": text(pattern),
                              "event": text(event), "match": expected(alternatives, value)}, ensure_ascii=False))
            number += 1


if __name__ == "__main__":
    main()
