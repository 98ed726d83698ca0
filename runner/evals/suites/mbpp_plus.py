"""MBPP+: as HumanEval+, with values that JSON has no word for and rules of some tasks' own."""

from collections.abc import Callable
from typing import ClassVar

from runner.evals.samples.answers import program_in
from runner.evals.samples.records import Json, Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Judged, answer_of
from runner.evals.suites.humaneval_plus import HumanEvalPlus, argument_lists, encoded

Reshape = Callable[[list[Json]], list[Json]]


class MbppPlus(HumanEvalPlus):
    """Samples have `solution` or `completion`; either is the whole program."""

    name = "mbpp-plus"
    brought_by = "Give MbppPlus.jsonl.gz (repository evalplus/mbppplus_release) with --data"
    packaged = (("evalplus", "MbppPlus.jsonl.gz"),)
    rules: ClassVar[dict[str, str]] = {
        "are_equivalent": "any",
        "sum_div": "or zero",
        "surface_Area": "surface",
        "digit_distance_nums": "digit distance",
        **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), "not none"),
        **dict.fromkeys(
            (
                "similar_elements",
                "find_char_long",
                "common_in_nested_lists",
                "extract_singly",
                "larg_nnum",
                "intersection_array",
                "find_dissimilar",
                "Diff",
            ),
            "set",
        ),
    }

    def inputs(self, task: Task, field: str) -> list[Json]:
        number = task.task_id.rpartition("/")[2]
        reshape = RESHAPES.get(int(number)) if number.isdigit() else None
        rows: list[Json] = []
        for args in argument_lists(task.row, field):
            assert isinstance(args, list)
            rows.append(reshape(args) if reshape else encoded(args))
        return rows

    def trial(self, task: Task, sample: Sample) -> Judged:
        trial = super().trial(task, sample)
        source = answer_of(sample, "solution", "completion")
        return Judged(source, trial.check, reference=trial.reference)

    def question(self, task: Task) -> str:
        return f"{task.row.text('prompt')}\n\n{IN_ONE_BLOCK}"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return {"solution": program_in(text, [task.row.text("entry_point")])}


def _tuple(value: Json) -> Json:
    items = value if isinstance(value, list) else list(str(value))
    return {"tuple": [encoded(item) for item in items]}


def _items(value: Json) -> list[Json]:
    return value if isinstance(value, list) else list(str(value))


def _each(args: list[Json]) -> list[Json]:
    return [_tuple(one) for one in args]


def _each_inside(args: list[Json]) -> list[Json]:
    return [[_tuple(inner) for inner in _items(one)] for one in args]


def _inside_first(args: list[Json]) -> list[Json]:
    return [[_tuple(inner) for inner in _items(args[0])], *map(encoded, args[1:])]


def _first(args: list[Json]) -> list[Json]:
    return [_tuple(args[0]), *map(encoded, args[1:])]


def _second(args: list[Json]) -> list[Json]:
    return [encoded(args[0]), _tuple(args[1])]


def _twice(args: list[Json]) -> list[Json]:
    return [{"tuple": [_tuple(inner) for inner in _items(one)]} for one in args]


def _sets(args: list[Json]) -> list[Json]:
    inner: list[Json] = []
    for item in _items(args[0]):
        is_set = isinstance(item, list) and item
        inner.append({"set": [encoded(one) for one in _items(item)]} if is_set else {"dict": []})
    return [inner]


def _mixed(args: list[Json]) -> list[Json]:
    return [
        {
            "tuple": [
                _tuple(item) if isinstance(item, list) else encoded(item)
                for item in _items(args[0])
            ]
        }
    ]


def _values(args: list[Json]) -> list[Json]:
    table = args[0] if isinstance(args[0], dict) else {}
    pairs: list[Json] = [[key, _tuple(value)] for key, value in table.items()]
    return [{"dict": pairs}, *map(encoded, args[1:])]


def _deep(value: Json) -> Json:
    if isinstance(value, list):
        return {"tuple": [_deep(item) for item in value]}
    return encoded(value)


def _complex(value: Json) -> Json:
    number = complex(str(value).replace(" ", ""))
    return {"complex": [number.real, number.imag]}


RESHAPES: dict[int, Reshape] = {  # task number: what its arguments are, beyond JSON's types
    **dict.fromkeys(
        (
            2,
            116,
            132,
            143,
            222,
            261,
            273,
            394,
            399,
            421,
            424,
            429,
            470,
            560,
            579,
            596,
            616,
            630,
            726,
            740,
            744,
            809,
        ),
        _each,
    ),
    **dict.fromkeys(
        (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780), _each_inside
    ),
    **dict.fromkeys((75, 413, 444, 753), _inside_first),
    **dict.fromkeys((106, 750), _second),
    **dict.fromkeys((250, 307, 405, 446, 617, 720, 763, 808), _first),
    **dict.fromkeys((259, 401, 445), _twice),
    115: _sets,
    124: lambda args: [float(str(args[0])), _complex(args[1])],
    252: lambda args: [_complex(args[0])],
    278: _mixed,
    722: _values,
    **dict.fromkeys((580, 615, 791), lambda args: [_deep(one) for one in args]),
}
