"""How many connections, who fetches what from where, what is too slow: decided from numbers, by a given clock."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from model_fetch import probe
from model_fetch.board import MIB, Board, Item, Piece
from model_fetch.curl import Reply
from model_fetch.errors import Asked, Changed, Cut, Denied, NoRanges, Trouble, Unreachable
from model_fetch.hubs import HuggingFace, ModelScope
from model_fetch.listing import RemoteFile
from model_fetch.pace import Pace
from model_fetch.partial import Partial
from model_fetch.pull import Busy, check
from model_fetch.routes import Route
from model_fetch.watchdog import Watch, pause

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MS = "ModelScope (ms.example)"


def ways() -> list[Route]:
    return [Route(ModelScope("https://ms.example"), revision="r1")]


def other() -> Route:
    return Route(HuggingFace("https://hf.example"), listed={"w": RemoteFile("w", 100 * MIB, "a" * 64)})


@pytest.fixture
def open_partial(tmp_path: Path) -> Callable[[RemoteFile], Partial]:
    return lambda file: Partial(file, tmp_path / "parts" / file.path, tmp_path / file.path)


@pytest.fixture
def board(open_partial: Callable[[RemoteFile], Partial]) -> Board:
    return Board([RemoteFile("w", 100 * MIB, "a" * 64), RemoteFile("c", 10, "b" * 64)], ways(), open_partial)


def take(board: Board, now: float = 0.0) -> Piece:
    piece = board.take(now, 4)
    assert piece is not None
    return piece


def bring(board: Board, piece: Piece, size: int | None = None) -> None:
    """The connection has brought so many bytes, all of the piece if not said."""
    piece.at = piece.end if size is None else piece.start + size
    assert piece.item.partial is not None
    piece.new = piece.item.partial.record(piece.start, piece.at, 0)
    board.done(piece)


def test_small_files_first_then_pieces_that_get_smaller(board: Board) -> None:
    first = take(board)
    assert (first.item.file.path, first.start, first.end) == ("c", 0, 10)
    sizes: list[int] = []
    while (piece := take(board)).item.file.path == "w" and len(sizes) < 30:
        sizes.append(piece.end - piece.start)
        bring(board, piece)
        if board.left == 10:
            break
    assert sum(sizes) == 100 * MIB
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 10 * MIB > sizes[-1]


def test_several_connections_on_one_file_never_fetch_a_byte_twice(board: Board) -> None:
    take(board)
    pieces = [take(board) for _ in range(4)]
    spans = sorted((piece.start, piece.end) for piece in pieces)
    assert {piece.item.file.path for piece in pieces} == {"w"}
    assert all(end == start for (_, end), (start, _) in pairwise(spans))


def test_a_slow_connection_gets_help(board: Board) -> None:
    take(board)
    pieces = []
    while piece := board.take(0.0, 1):
        pieces.append(piece)
    slow = pieces[0]
    for piece in pieces[1:]:
        bring(board, piece)
    end, slow.at = slow.end, slow.start + MIB
    assert board.take(0.1, 4) is None, "it is not known to be slow yet"
    helper = take(board, 60.0)
    assert helper.item is slow.item
    assert (helper.start, helper.end) == (slow.end, end)
    assert slow.at < slow.end


def test_a_silent_connection_at_the_end_is_left(board: Board) -> None:
    bring(board, take(board))
    pieces = []
    while piece := board.take(0.0, 1):
        pieces.append(piece)
    silent = pieces.pop()
    for piece in pieces:
        bring(board, piece)
    stopped: list[bool] = []
    end, silent.at = silent.end, silent.end - 1000
    silent.last, silent.stop = 4.0, lambda: stopped.append(True)
    assert board.take(5.0, 4) is None
    helper = take(board, 9.5)
    assert (helper.start, helper.end) == (silent.at, end)
    assert stopped == [True]
    assert board.take(30.0, 4) is None, "once is enough, and the helper is not silent yet"


def test_failures_that_brought_nothing_wait_longer_and_then_go_elsewhere(board: Board) -> None:
    board.routes.append(other())
    bring(board, take(board))
    now, froms = 0.0, []
    for _ in range(4):
        piece = take(board, now)
        froms.append(piece.route.hub.source)
        board.done(piece)
        board.failed(piece, Cut("nothing came"), now)
        if len(froms) < 3:
            assert board.take(now, 4) is None, "it waits before it tries again"
        now += 31
    assert froms == ["modelscope"] * 3 + ["huggingface"]


def test_connections_that_break_together_count_as_one_failure(board: Board) -> None:
    bring(board, take(board))
    pieces = [take(board) for _ in range(4)]
    for piece in pieces:
        board.done(piece)
        board.failed(piece, Cut("reset"), 1.0)
    assert board.items[1].failures == 1


def test_progress_resets_the_budget(board: Board) -> None:
    bring(board, take(board))
    for turn in range(20):
        piece = take(board, float(turn))
        bring(board, piece, MIB)
        board.failed(piece, Cut("cut"), float(turn))
    assert board.items[1].failures == 0
    assert board.items[1].partial is not None
    assert board.items[1].partial.done.total == 20 * MIB


def test_another_hub_is_asked_when_every_way_failed(board: Board) -> None:
    bring(board, take(board))
    now = 0.0
    for _ in range(3):
        piece = take(board, now)
        board.done(piece)
        board.failed(piece, Cut("stalled"), now)
        now += 31
    assert board.others == "wanted"
    assert board.take(now, 4) is None
    board.found([other()], now)
    assert take(board, now).route.hub.source == "huggingface"


def test_a_hub_with_other_bytes_is_no_other_source(board: Board) -> None:
    bring(board, take(board))
    piece = take(board)
    board.done(piece)
    board.failed(piece, Denied("no"), 0.0)
    wrong = Route(HuggingFace("https://hf.example"), listed={"w": RemoteFile("w", 100 * MIB, "f" * 64)})
    with pytest.raises(Denied, match="no"):
        board.found([wrong], 1.0)


def test_a_server_that_ignores_ranges_gets_one_connection_for_a_file(board: Board) -> None:
    bring(board, take(board))
    piece = take(board)
    board.done(piece)
    board.failed(piece, NoRanges("whole files only"), 0.0)
    whole = take(board)
    assert (whole.start, whole.end) == (0, 100 * MIB)
    assert board.take(1000.0, 4) is None


def test_a_server_without_ranges_that_always_cuts_is_no_progress(board: Board) -> None:
    bring(board, take(board))
    board.routes[0].ranges = False
    first = take(board)
    bring(board, first, MIB)
    board.failed(first, Cut("cut"), 0.0)
    assert board.items[1].failures == 0
    again = take(board, 1.0)
    bring(board, again, MIB)
    assert again.new == 0
    board.failed(again, Cut("cut"), 1.0)
    assert board.items[1].failures == 1


def test_a_commit_that_no_file_is_handed_out_by_falls_back_to_the_branch(board: Board) -> None:
    board.routes[0].branch = "master"
    bring(board, take(board))
    piece = take(board)
    board.done(piece)
    board.failed(piece, Asked("no such revision"), 0.0)
    assert take(board).route.revision == "master"


def hashing(item: Item) -> bool:
    return item.state == "hashing"


def arrive(board: Board) -> Item:
    """All of `w` is there."""
    while board.left:
        bring(board, take(board))
    return board.items[1]


def test_wrong_bytes_are_compared_three_times_then_had_elsewhere(board: Board) -> None:
    board.routes.append(other())
    item = arrive(board)
    for _ in range(2):
        assert item.state == "hashing"
        board.arrived_wrong(item, 0.0)
        piece = take(board)
        assert piece.compare
        assert piece.route.hub.source == "modelscope"
        bring(board, piece)
        arrive(board)
    board.arrived_wrong(item, 0.0)
    assert take(board).route.hub.source == "huggingface"


def test_the_first_bytes_that_differed_may_have_been_all_that_was_wrong(board: Board) -> None:
    item = arrive(board)
    board.arrived_wrong(item, 0.0)
    first, second = take(board), take(board)
    first.differed = 7
    bring(board, first)
    assert not hashing(item)
    assert board.take(0.0, 4) is None, "nothing more is fetched before it was looked at"
    bring(board, second)
    assert hashing(item)
    # It was not all: the round goes on where it was, and looks only at its end.
    board.arrived_wrong(item, 0.0)
    assert item.wrong == 1
    third = take(board)
    assert third.start == second.end
    third.differed = 1
    bring(board, third)
    assert not hashing(item)
    arrive(board)
    assert hashing(item)


def test_wrong_bytes_everywhere_are_an_error_that_names_the_file(board: Board) -> None:
    board.routes.append(other())
    board.others = "asked"
    item = arrive(board)
    for _ in range(3):
        board.arrived_wrong(item, 0.0)
        arrive(board)
    with pytest.raises(Unreachable, match=r"`w` cannot be had right: ModelScope .* 3 times; Hugging Face .* the same"):
        board.arrived_wrong(item, 0.0)


def test_connections_grow_while_that_helps() -> None:
    pace, total = Pace(16), 0.0
    for second in range(1, 60):
        total += pace.target * 1e6  # each connection brings 1 MB/s
        pace.feed(float(second), int(total), pace.target)
    assert pace.target == 16


def test_connections_shrink_to_what_is_as_fast() -> None:
    pace, total, seen = Pace(16), 0.0, set()
    for second in range(1, 30):
        total += min(pace.target * 1e6, 6e6)  # the line brings 6 MB/s, however many there are
        pace.feed(float(second), int(total), pace.target)
        seen.add(pace.target)
    assert pace.target == 8
    assert max(seen) == 16


def test_the_end_of_a_download_decides_nothing() -> None:
    pace = Pace(16)
    for second in range(1, 30):
        pace.feed(float(second), second, 1)
    assert pace.target == 4


def test_silence_is_waited_for_only_so_long() -> None:
    watch = Watch(20.0, 100.0)
    assert watch.left(110.0) == 10.0
    watch.feed(115.0, 50_000)
    assert watch.left(115.0) == 20.0
    assert watch.left(140.0) == 0.0


def test_a_trickle_is_a_stall() -> None:
    watch = Watch(20.0, 0.0)
    for second in range(1, 40):
        watch.feed(float(second), 10)
    with pytest.raises(Cut, match="only 400 bytes came in 40 s"):
        watch.feed(40.0, 10)
    slow = Watch(20.0, 0.0)
    for second in range(1, 200):
        slow.feed(float(second), 2000)


def test_pauses_grow_up_to_half_a_minute() -> None:
    assert [pause(failures) for failures in (1, 2, 3, 7, 50)] == [0.5, 1.0, 2.0, 30.0, 30.0]


def test_the_fastest_way_wins_only_when_it_is_clearly_faster() -> None:
    routes = [ways()[0] for _ in range(3)]
    assert probe.order(routes, [10e6, 11e6, 0.0]) == routes
    assert probe.order(routes, [0.0, 1e6, 9e6]) == [routes[2], routes[1], routes[0]]
    assert probe.order(routes, [0.0, 0.0, 0.0]) == routes


GOOD = {"content-range": "bytes 5-9/100", "content-length": "5"}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(206, GOOD), None),
        (Reply(200, GOOD), None),  # ModelScope's own way
        (Reply(200, {"content-length": "100"}), NoRanges),
        (Reply(200, {"content-length": "77"}), Changed),
        (Reply(206, {"content-range": "bytes 5-9/101"}), Changed),
        (Reply(206, {"content-range": "bytes 0-4/100"}), Cut),
        (Reply(206, {"content-range": "bytes 5-7/100"}), Cut),
        (Reply(206, GOOD, linked="a" * 64), None),
        (Reply(206, GOOD, linked="c" * 64), Changed),
        (Reply(404), Asked),
        (Reply(403), Denied),
        (Reply(416), Changed),
        (Reply(503, {"retry-after": "7"}), Busy),
    ],
)
def test_what_a_server_may_answer(reply: Reply, error: type[Trouble] | None) -> None:
    item = Item(RemoteFile("w", 100, "a" * 64))
    piece = Piece(item, ways()[0], 5, 10, 0.0, 5)
    if error is None:
        check(reply, piece, ranged=True)
        return
    with pytest.raises(error) as caught:
        check(reply, piece, ranged=True)
    assert not isinstance(caught.value, Busy) or caught.value.wait == 7.0
