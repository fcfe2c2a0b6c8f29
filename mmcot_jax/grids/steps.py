"""Reads the steps of a reply through a grid, from words and from pictures, and judges each.

A step is a move in words ("right b1", or "right"), a picture of the next state, or a move and the
picture of the state that it leads to. Any reply has a reading; none raises.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmcot_jax.example import IMAGE, Example, Picture, Reply
from mmcot_jax.grids import MOVES, Cell, Grid, cell_of, distances, name, shortest
from mmcot_jax.grids.pictures import recognise

PROGRESS, LEGAL, ILLEGAL = "progress", "legal", "illegal"
"""Verdicts: a legal step to a cell nearer to the goal than all before, another legal step, or none.
"""

_STEP = re.compile(
    rf"\b({'|'.join(MOVES)})\b(?:[\s,:;(]*(?:(?:to|->)[\s(]*)?\b([a-z][0-9]+)\b)?", re.IGNORECASE
)
"""A move, and the cell told after it: "right b1", "right to b1", "right (b1)", "right: b1"."""
_NOWHERE: Cell = (-1, -1)
"""A told cell that no grid has, such as z5 or b10."""


class Steps(NamedTuple):
    """The steps of a reply, up to the first that is illegal."""

    verdicts: tuple[str, ...]
    cells: tuple[Cell, ...]
    """The agent's cells, the start first; an illegal step adds none."""
    shortest: int
    """Number of moves of a shortest path."""
    reached: bool
    """True if legal steps lead to the goal and none follows."""
    unreadable: bool
    """True if a picture of no state of the grid ended it."""
    ends: tuple[int, ...]
    """The first character of the reply's text after each step."""

    @property
    def illegal(self) -> bool:
        """True if its last step is illegal."""
        return ILLEGAL in self.verdicts

    @property
    def exact(self) -> bool:
        """True if it is a shortest path to the goal: the field's exact match."""
        return self.reached and len(self.verdicts) == self.shortest

    @property
    def progress_rate(self) -> float:
        """Steps that come nearer before the first that does not, over the shortest path's moves."""
        count = next(
            (i for i, verdict in enumerate(self.verdicts) if verdict != PROGRESS),
            len(self.verdicts),
        )
        return count / self.shortest


def of(example: Example, reply: Reply) -> Steps:
    """Returns the steps of a reply to a question about a grid.

    Raises:
        ValueError: the example has no grid, or as `judge`.
    """
    grid = example.extra.get("grid")
    if not isinstance(grid, Grid):
        raise ValueError(
            f"example {example.id!r} has no grid to walk in; give extra['grid'], as the tasks "
            "frozenlake and maze do"
        )
    return judge(grid, reply, example.extra.get("canvas"))


def judge(grid: Grid, reply: Reply, canvas: int | None = None) -> Steps:
    """Returns the steps of a reply in a grid, drawn on a canvas of so many cells.

    A step after the goal is illegal, so is one into a blocked cell or off the grid, one to a cell
    that is no neighbour, a state that is not where the move leads, and a picture of no state.

    Raises:
        ValueError: the grid has no path, or one of no moves.
    """
    if grid.start == grid.goal:
        raise ValueError(
            f"the goal {name(grid.goal)} is the start: there is no way to judge; give another goal"
        )
    far, least = distances(grid), shortest(grid)
    cells, verdicts, ends, nearest = [grid.start], [], [], least
    unreadable = False
    for move, told, drawn, end in _claims(grid, reply, canvas):
        to = _target(grid, cells[-1], move, told, drawn)
        unreadable = drawn is _UNREADABLE
        ends.append(end)
        if cells[-1] == grid.goal or to is None:
            verdicts.append(ILLEGAL)
            break
        cells.append(to)
        verdicts.append(PROGRESS if far[to] < nearest else LEGAL)
        nearest = min(nearest, far[to])
    reached = cells[-1] == grid.goal and ILLEGAL not in verdicts
    return Steps(tuple(verdicts), tuple(cells), least, reached, unreadable, tuple(ends))


_UNREADABLE: Any = object()


class _Claim(NamedTuple):
    """A claimed step: a move, the cell told after it, the cell drawn after it, or some of these."""

    move: str | None
    told: Cell | None
    drawn: Any
    end: int
    """The first character of the reply's text after it."""


def _claims(grid: Grid, reply: Reply, canvas: int | None) -> Iterator[_Claim]:
    """The steps that a reply claims: a picture belongs to the move right before it."""
    waiting: _Claim | None = None
    begin = 0
    for segment in reply.segments:
        if isinstance(segment, Picture):
            drawn = recognise(grid, segment.pixels, canvas)
            begin += len(IMAGE)
            claim = waiting or _Claim(None, None, None, begin)
            yield claim._replace(drawn=_UNREADABLE if drawn is None else drawn, end=begin)
            waiting = None
            continue
        for found in _STEP.finditer(segment):
            if waiting:
                yield waiting
            move, word = found.groups()
            told = _told(word.lower()) if word else None
            waiting = _Claim(move.lower(), told, None, begin + found.end())
        begin += len(segment)
    if waiting:
        yield waiting


def _told(word: str) -> Cell:
    return cell_of(word) if re.fullmatch("[a-h][1-8]", word) else _NOWHERE


def _target(grid: Grid, cell: Cell, move: str | None, told: Cell | None, drawn: Any) -> Cell | None:
    """The cell that a claimed step leads to; None if it is illegal."""
    legal = grid.legal(cell)
    to = drawn if move is None else legal.get(move)
    agrees = drawn in (None, to) and told in (None, to)
    return to if agrees and to in legal.values() else None
