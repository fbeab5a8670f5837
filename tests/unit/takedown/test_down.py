"""`down` on a provider that has bad days: what is not gone is never called gone, and again goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox import backups, power, takedown_look
from gpubox.converge.progress import Board
from gpubox.errors import GpuboxError, NoStock, Refused, UnknownBox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpubox.ledger import BoxRecord
    from sim.faults import FaultPlan

    from .conftest import Owner

FOREVER = 1 << 30


def refused(owner: Owner, *words: str, discard: bool = False) -> Refused:
    """`down` ends with exit code 3 and says these words, and the box is still in the ledger."""
    with pytest.raises(Refused) as no:
        owner.down(discard=discard)
    for word in words:
        assert word in f"{no.value.message} | {no.value.hint}"
    assert owner.known() is not None
    return no.value


def test_a_receipt_with_what_it_cost(owner: Owner) -> None:
    record = owner.rents()
    owner.sim.clock.advance(hours=2)
    receipt = owner.down()
    assert owner.boxes() == []
    assert owner.known() is None
    assert (receipt.released, receipt.ref, receipt.still_to_do) == (True, record.provider_ref, None)
    assert 2.0 < receipt.hours_on <= receipt.hours < 2.1
    assert receipt.spent is not None
    assert abs(Decimal(receipt.spent) - owner.sim.account.bill(record.provider_ref or "")) < Decimal("0.05")
    assert Decimal(receipt.balance_after or 0) < Decimal(receipt.balance_before or 0) < 100
    assert (receipt.price_per_hour, receipt.currency) == ("1.88", "CNY")
    written = json.loads((owner.home / "receipts" / "receipt.json").read_text())
    assert (written["ref"], written["spent"]) == (receipt.ref, receipt.spent)
    text = (owner.home / "receipts" / "receipt.txt").read_text()
    assert "released      yes, the provider no longer has it" in text
    assert "at 1.88 CNY per hour" in text
    # Powered off, seen to be off, released, seen to be gone, and looked for once more.
    operations = owner.sim.server.operations()
    assert operations.index("power_off") < operations.index("release")
    assert operations[-2:] == ["list", "balance"]
    with pytest.raises(UnknownBox, match="was released"):
        owner.down()


def test_no_is_no(owner: Owner) -> None:
    owner.rents()
    with pytest.raises(Refused, match="nothing was done"):
        owner.down(agree=False)
    assert len(owner.boxes()) == 1
    assert owner.sim.account.billing() == owner.boxes()


def test_a_release_that_says_yes_and_does_nothing_is_not_believed(owner: Owner) -> None:
    owner.rents()
    owner.sim.faults.lie("release")
    refused(owner, "said that it released", "still lists it", "bills", "gpubox down mybox")
    assert len(owner.boxes()) == 1
    assert owner.known().state == "stopped"  # type: ignore[union-attr]
    assert owner.down().released
    assert owner.boxes() == []


def test_a_power_off_that_is_lost_is_asked_for_again(owner: Owner) -> None:
    owner.rents()
    owner.sim.faults.lie("power_off", times=2)
    assert owner.down().released
    assert owner.sim.server.count("power_off") == 3
    assert owner.boxes() == []


def test_a_power_off_that_never_comes_is_said_with_what_it_costs(owner: Owner) -> None:
    owner.rents()
    owner.sim.faults.lie("power_off", times=FOREVER)
    refused(owner, "does not power off", "bills (1.88 CNY per hour)")
    assert owner.sim.server.count("release") == 0
    owner.sim.faults.restart()
    assert owner.down().released


def _list_garbage(faults: FaultPlan) -> None:
    faults.garbage("list", times=FOREVER)


def _status_500(faults: FaultPlan) -> None:
    faults.http("status", times=FOREVER)


def _release_500(faults: FaultPlan) -> None:
    faults.http("release")


def _release_error(faults: FaultPlan) -> None:
    faults.error("release")


def _power_off_refused(faults: FaultPlan) -> None:
    faults.error("power_off", times=FOREVER, code="BadRequest", message="实例当前状态不支持该操作")


@pytest.mark.parametrize("plan", [_list_garbage, _release_500, _release_error, _power_off_refused])
def test_trouble_on_the_way_out_ends_with_1_or_3_and_again_goes_on(
    owner: Owner, plan: Callable[[FaultPlan], None]
) -> None:
    owner.rents()
    plan(owner.sim.faults)
    with pytest.raises(GpuboxError) as trouble:
        owner.down()
    assert trouble.value.exit_code in (1, 3)
    assert "gpubox down mybox" in str(trouble.value.hint)
    assert owner.known() is not None
    owner.sim.faults.restart()
    assert owner.down().released
    assert owner.boxes() == []


def test_an_answer_that_is_lost_after_the_release_is_looked_into(owner: Owner) -> None:
    owner.rents()
    owner.sim.faults.drop("release")
    assert owner.down().released
    assert owner.sim.server.count("release") == 1
    assert owner.known() is None


def test_a_provider_that_is_out_of_reach_is_no_reason_to_forget_a_box(owner: Owner) -> None:
    owner.rents()
    _status_500(owner.sim.faults)
    refused(owner, "`mybox` is still rented", "bills 1.88 CNY per hour", "`gpubox down mybox` goes on")
    owner.sim.faults.restart()
    assert owner.down().released


def test_a_provider_that_falls_silent_in_the_middle_of_it(owner: Owner) -> None:
    owner.rents()
    # The look, and then the first question on the way out, and the one that would excuse it.
    owner.sim.faults.restart().http("status", 2, times=FOREVER)
    refused(owner, "the box is not gone, and bills (1.88 CNY per hour)", "gpubox down mybox")
    owner.sim.faults.restart()
    assert owner.down().released


def test_when_nobody_can_tell_whether_it_was_rented_that_is_said(owner: Owner) -> None:
    with owner.ledger() as ledger:
        ledger.add("mybox", "autodl", order="gpubox-mybox-0123abcd")
        ledger.audit("mybox", "create", "begun", {"order": "gpubox-mybox-0123abcd"})
    owner.sim.faults.http("list", times=FOREVER)
    refused(owner, "gpubox down mybox")
    owner.sim.faults.restart()
    assert "never rented" in owner.down().notes[0]


def test_a_box_that_somebody_else_has_released_is_taken_off_the_ledger(owner: Owner) -> None:
    record = owner.rents()
    owner.source.power_off(record)
    owner.source.release(record)
    receipt = owner.down()
    assert receipt.released
    assert "no longer has it" in receipt.notes[0]
    assert owner.known() is None


def test_a_box_that_was_never_rented_is_taken_off_the_ledger(owner: Owner) -> None:
    with owner.ledger() as ledger:
        ledger.add("mybox", "autodl", order=ledger.new_order("mybox"))
    begun = owner.sim.clock.now()
    assert "never rented" in owner.down().notes[0]
    assert owner.sim.clock.now() - begun < timedelta(minutes=1)
    assert owner.plans == []
    assert owner.known() is None


def test_a_box_whose_create_call_nobody_saw_the_end_of_is_found_and_taken_down(owner: Owner) -> None:
    order = "gpubox-mybox-0123abcd"
    with owner.ledger() as ledger:
        ledger.add("mybox", "autodl", order=order)
        ledger.audit("mybox", "create", "begun", {"order": order})
        with owner.sim.account.lock:
            made = owner.sim.account.create(order, "4090D", 1, "westDC3", "")
    receipt = owner.down()
    assert (receipt.ref, receipt.released) == (made.uuid, True)
    assert owner.boxes() == []


def test_a_create_call_that_made_nothing_is_waited_out(owner: Owner) -> None:
    with owner.ledger() as ledger:
        ledger.add("mybox", "autodl", order="gpubox-mybox-0123abcd")
        ledger.audit("mybox", "create", "begun", {"order": "gpubox-mybox-0123abcd"})
    begun = owner.sim.clock.now()
    assert "never rented" in owner.down().notes[0]
    assert owner.sim.clock.now() - begun >= timedelta(minutes=3)
    assert owner.known() is None


def test_a_second_box_of_the_same_order_is_not_forgotten(owner: Owner) -> None:
    record = owner.rents()
    with owner.sim.account.lock:
        twin = owner.sim.account.create(record.order or "", "4090D", 1, "westDC3", "")
    refused(owner, "has another box of the same order", twin.uuid)
    assert owner.boxes() == [twin.uuid]
    assert owner.down().ref == twin.uuid
    assert owner.boxes() == []


def test_an_empty_account_ends_the_box_and_down_still_gives_it_back(owner: Owner) -> None:
    owner.rents()
    owner.sim.clock.advance(hours=60)
    assert owner.source.state(owner.known()) == "stopped"  # type: ignore[arg-type]
    receipt = owner.down()
    assert receipt.released
    assert owner.boxes() == []


class TestWithDataOnIt:
    """Boxes that gpubox has been on. They are on paper, so nobody can look at them."""

    @pytest.fixture
    def used(self, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> BoxRecord:
        monkeypatch.setattr(takedown_look, "_asked", lambda blank, _say: replace(blank, reason="no answer within 15 s"))
        owner.rents()
        with owner.ledger() as ledger:
            ledger.audit("mybox", "converge", "done", {})
            return ledger.update("mybox", root="/root/autodl-tmp/gpubox", digest="x")

    def saved(self, owner: Owner) -> Path:
        """As an earlier run leaves it that was killed right after it had powered the box off."""
        place = owner.home / "backups" / "20260301T080000Z"
        (place / backups.FILES).mkdir(parents=True)
        manifest = backups.Manifest("mybox", "2026-03-01T08:00:00+00:00", "/r", "/d", "/root", (), (), ())
        sha256 = backups.write(place, manifest)
        with owner.ledger() as ledger:
            ledger.note_backup("mybox", place, files=0, size=0, sha256=sha256)
            ledger.audit("mybox", "saved", "done", {"place": str(place)})
            owner.source.power_off(ledger.get("mybox"))
            ledger.update("mybox", state="stopped")
        return place

    def test_what_cannot_be_reached_is_not_given_up(self, owner: Owner, used: BoxRecord) -> None:
        refused(owner, "would be lost", "last answered at 2026-03-01", "nothing was backed up", "1.88 CNY", "--discard")
        assert owner.sim.account.billing() == owner.boxes() != []
        assert owner.plans == []

    def test_discard_gives_it_up_after_showing_what_is_known(self, owner: Owner, used: BoxRecord) -> None:
        receipt = owner.down(discard=True)
        assert (receipt.discarded, receipt.backup, receipt.released) == (True, None, True)
        (plan,) = owner.plans
        assert (plan.seen, plan.discard, plan.last_backup) == ("unseen", True, None)
        assert plan.last_heard is not None
        assert owner.boxes() == []

    def test_a_box_that_is_off_is_powered_on_for_a_look(self, owner: Owner, used: BoxRecord) -> None:
        owner.source.power_off(used)
        refused(owner, "cannot be seen", "0 CNY per hour", "--discard")  # Boxes on paper let nobody in.
        assert owner.sim.server.count("power_on") == 1
        assert owner.sim.account.billing() == []
        assert any("powered on to look" in note for note in owner.words.notes)

    def test_without_stock_it_cannot_be_looked_at(self, owner: Owner, used: BoxRecord) -> None:
        owner.source.power_off(used)
        owner.sim.faults.no_stock()
        refused(owner, "cannot be powered on", "no such card free", "gpubox start mybox", "--discard")
        assert owner.known().state == "stopped"  # type: ignore[union-attr]
        assert len(owner.boxes()) == 1

    def test_an_account_without_money_keeps_a_box_from_being_looked_at(self, owner: Owner, used: BoxRecord) -> None:
        owner.sim.clock.advance(hours=60)
        refused(owner, "would be lost", "last answered at 2026-03-01", "the account has", "--discard")
        assert len(owner.boxes()) == 1
        # AutoDL lets it hang while it starts. With money it goes on, and so does this.
        owner.sim.account.wallet.deposit += 100
        assert owner.down(discard=True).released

    def test_discard_needs_no_card(self, owner: Owner, used: BoxRecord) -> None:
        owner.source.power_off(used)
        owner.sim.faults.no_stock()
        assert owner.down(discard=True).released
        assert owner.sim.server.count("power_on") == 0

    def test_what_is_off_since_everything_came_home_needs_no_card(self, owner: Owner, used: BoxRecord) -> None:
        place = self.saved(owner)
        owner.sim.faults.no_stock()
        receipt = owner.down()
        assert (receipt.released, receipt.verified, receipt.backup) == (True, True, str(place))
        assert owner.sim.server.count("power_on") == 0

    def test_a_rotten_backup_is_not_relied_on(self, owner: Owner, used: BoxRecord) -> None:
        manifest = self.saved(owner) / backups.MANIFEST
        manifest.chmod(0o600)
        manifest.write_text(manifest.read_text().replace("/root", "/boot"))
        refused(owner, "is not what it was", "gpubox start mybox")
        assert len(owner.boxes()) == 1

    def test_a_dry_run_changes_nothing(self, owner: Owner, used: BoxRecord) -> None:
        owner.source.power_off(used)
        calls = owner.sim.server.count("power_on")
        told = takedown_look.plan("mybox").as_dict()
        assert (told["seen"], told["releases"], told["reason"]) == ("unseen", True, "it is off")
        assert owner.sim.server.count("power_on") == calls

    def test_saying_no_after_a_look_powers_it_off_again(
        self, owner: Owner, used: BoxRecord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(takedown_look, "_asked", lambda blank, _say: replace(blank, seen="nothing", reason="empty"))
        owner.source.power_off(used)
        with pytest.raises(Refused, match="nothing was done"):
            owner.down(agree=False)
        assert owner.sim.server.count("power_on") == 1
        assert owner.sim.account.billing() == []
        assert owner.known().state == "stopped"  # type: ignore[union-attr]


def test_a_box_of_somebody_else_is_not_given_up_unseen(owner: Owner) -> None:
    with owner.sim.account.lock:
        made = owner.sim.account.create("by hand", "4090D", 1, "westDC3", "")
    owner.sim.clock.advance(60)
    with owner.ledger() as ledger:
        ledger.add("mybox", "autodl", provider_ref=made.uuid, state="running")
        ledger.audit("mybox", "adopt", "done", {"ref": made.uuid})
    refused(owner, "was not rented by gpubox", "gpubox up mybox", "--discard")
    assert owner.boxes() == [made.uuid]
    assert owner.down(discard=True).released


def test_stop_says_until_when_the_disk_is_kept(owner: Owner) -> None:
    owner.rents()
    stopped = power.stop("mybox", board=board(owner))
    assert stopped.off
    assert stopped.record.erase_at is not None
    assert abs(stopped.record.erase_at - owner.sim.clock.now() - timedelta(days=15)) < timedelta(minutes=5)
    assert "deletes it at" in str(stopped.still_to_do)
    assert owner.sim.account.billing() == []


def test_start_without_stock_is_said(owner: Owner) -> None:
    owner.rents()
    power.stop("mybox", board=board(owner))
    owner.sim.faults.no_stock()
    with pytest.raises(NoStock, match="stays off with everything on its disk, and is deleted"):
        power.start("mybox", board=board(owner))


def board(owner: Owner) -> Board:
    return Board(owner.words)
