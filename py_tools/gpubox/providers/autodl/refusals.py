"""AutoDL's errors: they come with HTTP 200, and there is no list of them; these are the ones that people have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpubox.errors import AuthFailed, Failed, NoStock, Unreachable

if TYPE_CHECKING:
    from gpubox.errors import GpuboxError

WHERE = "AutoDL"
CONSOLE = "https://www.autodl.com/console/instance/list"


class NotPermitted(AuthFailed):
    """The key is right and the account may not do this."""


class NoSuchBox(Failed):
    """The account has no such box, or it is an ordinary one, which the Pro API does not see."""


class NotOff(Failed):
    """This can only be done with a box that is powered off."""


class _Row(NamedTuple):
    """What an error with this code (None: any) and these words in its message is; the first row that fits counts."""

    code: str | None
    words: str
    kind: type[GpuboxError]
    message: str
    hint: str | None


_LOG_IN = "copy the developer token anew (AutoDL console: 账号 > 设置 > 开发者Token) and set `AUTODL_TOKEN`"
_STOCK = "wait for one with `gpubox up NAME --wait 2h`, or ask for another card; `gpubox offers` shows them"

_ROWS = (
    _Row("AuthorizeFailed", "", AuthFailed, "AutoDL does not accept the developer token", _LOG_IN),
    _Row(
        "TORealName",
        "",
        NotPermitted,
        "AutoDL's API wants an account with its real-name verification done",
        "do it in the AutoDL console: 账号 > 实名认证",
    ),
    _Row(
        None,
        "无当前资源访问权限",
        NotPermitted,
        "this AutoDL account may not use that part of the API",
        "it needs enterprise verification (AutoDL console: 账号 > 企业认证)",
    ),
    _Row(None, "暂无库存", NoStock, "AutoDL has no such card free at the moment", _STOCK),
    _Row(None, "GPU不足", NoStock, "the box's own host at AutoDL has no card free at the moment", _STOCK),
    _Row(None, "执行释放操作", NotOff, "AutoDL releases a box only when it is powered off", "gpubox stop NAME"),
    _Row(None, "确保实例是关机状态", NotOff, "AutoDL saves an image only of a powered-off box", "gpubox stop NAME"),
    _Row(
        "RecordNotFoundError",
        "",
        NoSuchBox,
        "AutoDL knows no such box (ordinary ones, rented on its web page, are not seen by its API)",
        'adopt an ordinary box with: gpubox add NAME "ssh -p PORT root@HOST"',
    ),
    _Row(None, "不支持的启动模式", Failed, "AutoDL's API cannot start a box that way", f"do it by hand: {CONSOLE}"),
    _Row("RequestParameterIsWrong", "", Failed, "AutoDL does not accept what was asked", None),
    _Row(
        None,
        "余额不足",
        Failed,
        "there is not enough money on the AutoDL account",
        "top it up: https://www.autodl.com/console/cost/recharge",
    ),
    # Nobody can tell from these whether the thing was done.
    _Row("InternalError", "", Unreachable, "AutoDL failed inside", "try again in a minute"),
    _Row("ServerError", "", Unreachable, "AutoDL failed inside", "try again in a minute"),
)


def refusal(code: str, words: str, operation: str) -> GpuboxError:
    """The typed error for AutoDL's answer to `operation`; its own words are kept."""
    where = f"{WHERE}, {operation}"
    told = f"{code}: {words}" if words else code
    for row in _ROWS:
        if row.code in (None, code) and row.words in words:
            return row.kind(f"{row.message} ({told})", where=where, hint=row.hint)
    return Failed(f"AutoDL says no ({told})", where=where, hint=f"look at {CONSOLE}")
