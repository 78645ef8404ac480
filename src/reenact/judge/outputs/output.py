"""Judge a file that a run left against the one that came when it was run again.

Promised: `identical` is said of equal digests or equal bytes only; nothing in a file is executed;
what is read of a file is limited, so that no file can fill memory or disk; whatever a file holds,
there is a verdict. Equal content in other bytes is `within tolerance`, and the detail says what was
left out. Content that could not be looked into is judged by its digest, and the detail says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from reenact.judge.outputs.compare import Comparison, Findings
from reenact.judge.outputs.moments import Period
from reenact.judge.outputs.source import BLOCK_BYTES, FileSource, Unreadable, first_difference
from reenact.model.identity import Digest
from reenact.model.metrics import json_number
from reenact.model.verdict import OutputVerdict, Verdict

Tolerance = tuple[float, float]
"""How far a number may be from the original's: relative to the magnitude of that, and absolute.

The two are added, as NumPy's `allclose` does.
"""

_BY_DIGEST = "content not compared: "


def judge_output(
    path: str,
    original: str | Path | None,
    reproduced: str | Path | None,
    *,
    original_digest: Digest | None = None,
    reproduced_digest: Digest | None = None,
    tolerance: Tolerance | None = None,
    directories: tuple[str, str] | None = None,
    periods: tuple[Period, Period] | None = None,
    names: Iterable[tuple[str, str]] = (),
) -> OutputVerdict:
    """Say how the output at `path` came back; never raise for what is in the files.

    `original` and `reproduced` are where their contents lie, None where there is none to read.
    Files of equal digests are not read. Without a tolerance numbers must be equal. In text, what
    names the run directory of the one is the same as what names that of the other: `directories`; and so
    is a moment at which the one ran, and one of the other: `periods`; and what an output is called
    in the one, and in the other: `names`.
    """

    def verdict(verdict: Verdict, detail: str | None, how: str = "digest") -> OutputVerdict:
        return OutputVerdict(
            path=path,
            verdict=verdict,
            how=how,
            original=original_digest,
            reproduced=reproduced_digest,
            detail=detail,
        )

    if original_digest is not None and original_digest == reproduced_digest:
        return verdict(Verdict.IDENTICAL, None)
    sources: list[FileSource] = []
    for which, place, digest in (
        ("original", original, original_digest),
        ("reproduced", reproduced, reproduced_digest),
    ):
        if place is None and digest is None:
            other = "reproduction" if which == "original" else "original"
            return verdict(Verdict.DIFFERS, f"only in the {other}")
        if place is None:
            return verdict(Verdict.DIFFERS, f"{_BY_DIGEST}the {which} file is not kept")
        try:
            source = FileSource(str(place), path.rpartition("/")[2])
            is_kept = digest is None or _digest(source) == digest
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return verdict(
                Verdict.DIFFERS, f"{_BY_DIGEST}the {which} file cannot be read: {reason}"
            )
        except Unreadable as error:
            return verdict(Verdict.DIFFERS, f"{_BY_DIGEST}the {which} file: {error}")
        if not is_kept:
            changed = f"the {which} file is no longer what the run left"
            return verdict(Verdict.DIFFERS, f"{_BY_DIGEST}{changed}")
        sources.append(source)
    try:
        if first_difference(*sources) is None:
            return verdict(Verdict.IDENTICAL, None, "bytes")
        comparison = Comparison(tolerance or (0.0, 0.0), sources[0], directories, periods, names)
        comparison.files(*sources)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return verdict(Verdict.DIFFERS, f"{_BY_DIGEST}it cannot be read: {reason}")
    return from_findings(
        comparison.findings, path=path, original=original_digest, reproduced=reproduced_digest
    )


def from_findings(
    findings: Findings,
    *,
    path: str,
    original: Digest | None = None,
    reproduced: Digest | None = None,
) -> OutputVerdict:
    """Return the verdict that findings come to."""
    figures = findings.figures
    verdict = Verdict.WITHIN_TOLERANCE
    if findings.first is not None:
        verdict = Verdict.DIFFERS
    elif findings.reasons:
        # Other bytes of a format that packs dates and addresses say little.
        verdict = Verdict.INCONCLUSIVE
    return OutputVerdict(
        path=path,
        verdict=verdict,
        how=findings.format or "bytes",
        original=original,
        reproduced=reproduced,
        detail=_detail(findings),
        largest_absolute=json_number(figures.absolute) if figures.absolute >= 0 else None,
        largest_relative=json_number(figures.relative) if figures.relative >= 0 else None,
        largest_ulps=figures.ulps if figures.ulps >= 0 else None,
    )


def _detail(findings: Findings) -> str:
    figures = findings.figures
    if findings.first is not None:
        others = findings.differences - 1
        more = f"; so do {others:,} more places" if others > 1 else ""
        return findings.first + (more if others != 1 else "; so does one more place")
    if findings.reasons:
        return _BY_DIGEST + "; ".join(dict.fromkeys(findings.reasons[:3]))
    said = "same content"
    if findings.tolerated is not None:
        count = (
            f"{figures.differing:,} numbers differ" if figures.differing > 1 else "1 number differs"
        )
        said = f"{count}, first {findings.tolerated}"
    left_out = [_counted(*aside, count) for aside, count in sorted(findings.asides.items())]
    return f"{said}; left out: {', '.join(left_out)}" if left_out else said


def _counted(what: str, of: str, count: int) -> str:
    """Return what was left out of how many: `dates of 3 members`."""
    if not of:
        return what
    many = of + ("es" if of.endswith("s") else "s")
    whats = what if what.endswith("s") else f"{what}s"
    return f"{whats} of {count:,} {many}" if count > 1 else f"{what} of 1 {of}"


def _digest(source: FileSource) -> Digest:
    hasher = blake3()
    with source.open() as file:
        while block := file.read(BLOCK_BYTES):
            hasher.update(block)
    return Digest(hasher.hexdigest())
