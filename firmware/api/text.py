"""What doorctl says to people: the status and the sound check as lines, moments, spans, tables."""

import time
from collections.abc import Iterator

from firmware.api.client import Json


def say(*lines: str) -> None:
    """Print lines that may hold a stranger's words: a caller's name must not command the technician's terminal."""
    for line in lines:
        print("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line))


def sound_lines(check: Json) -> Iterator[str]:
    """`doorctl audio` as text."""
    yield f"Street noise       {check['noise_db']:.0f} dBFS"
    if check["delay_ms"] is not None:
        coupling = f"{check['coupling_db']:+.0f} dB against what is played"
        yield f"Speaker heard      after {check['delay_ms']:.0f} ms, {coupling}"
    if check["margin_db"] is not None:
        yield f"Far end's own echo {check['margin_db']:.0f} dB below its voice (canceller: {check['canceller']})"
    if check.get("saved"):
        yield (
            f"Set                speaker {check['level_db']:+.1f} dB, ceiling {check['ceiling_db']:.1f} dBFS, "
            f"canceller {check['reference_delay_ms']:.0f} ms late"
        )
    for wrong in check["wrong"]:
        yield f"Wrong: {wrong}"
    yield "All is well" if check["ok"] else "Not calibrated" if check.get("saved") is False else "Not well"


def status_lines(status: Json) -> Iterator[str]:
    """`doorctl status` as text."""
    running = _span(status["uptime_s"])
    yield f"{status['name']}: Portero {status['version']} on {status['board']}, running for {running}"
    yield f"listens on {', '.join(status['listen']) or 'nothing'}"
    if not status["lock_process"]:
        yield "portero-door is not connected: no door opens"
    if status["locked_out_s"]:
        yield f"codes are locked for {status['locked_out_s']:.0f} s after too many wrong ones"
    yield from _table("Accounts", [_account_row(account) for account in status["accounts"]])
    if status.get("users"):
        yield from _table("Users", [row for user in status["users"] for row in _user_rows(user)])
    levels = {True: "unlocked (relay on)", False: "locked (relay off)", None: "unknown: portero-door is away"}
    stands = {True: "stands open", False: "is shut", None: ""}
    yield from _table(
        "Doors",
        [[door["name"], levels[door["active"]], stands[door.get("open")]] for door in status["doors"]],
    )
    yield from _table(
        "Calls",
        [
            [call["leg"], call["party"], call["direction"], f"{call['state']} for {_span(call['since_s'])}"]
            for call in status["calls"]
        ],
    )
    yield from _table(
        "Faults",
        [
            [moment(fault["since"]), fault["where"], f"{fault['what']}; {fault['remedy']}"]
            for fault in status["faults"]
        ],
    )
    press = status["last_press"]
    if press is None:
        yield "Last press  none yet"
    else:
        outcome = f"{press['outcome']}: {press['reason']}" if press["reason"] else press["outcome"] or "going on"
        what = f"{press['button']} ({press['source']})"
        yield f"Last press  {press['press']}  {moment(press['time'])}  {what}  {outcome}"


def _user_rows(user: Json) -> list[list[str]]:
    """A line for each phone of a user of the house."""
    name = f"{user['name']} ({user['display_name']})" if user["display_name"] else user["name"]
    rows = [
        [name, phone["source"], f"for {_span(phone['expires_s'])} more", phone["agent"]] for phone in user["phones"]
    ]
    return rows or [[name, "not registered", "", ""]]


def _account_row(account: Json) -> list[str]:
    state = account["state"]
    if account["status"] and state != "registered":
        state += f": {account['status']} {account['reason']}"
    elif account["reason"] and state != "registered":
        state += f": {account['reason']}"
    if state == "registered" and account.get("server"):
        state += f" at {account['server']}"
    if account["retry_s"] and state.startswith("failed"):
        state += f"; next attempt within {_span(account['retry_s'])}"
    return [account["name"], account["address"], state, f"for {_span(account['since_s'])}"]


def _table(title: str, rows: list[list[str]]) -> Iterator[str]:
    """Rows with aligned columns under a title; the title alone says that there are none."""
    if not rows:
        yield f"{title}  none"
        return
    yield title
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def moment(unix_s: float) -> str:
    """Local time with milliseconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s)) + f".{int(unix_s * 1000) % 1000:03}"


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
