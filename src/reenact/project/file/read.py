"""Turn the tree of a project file into values, and collect every problem on the way."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

import msgspec

from reenact.project.file.files import Files, Item, Unit
from reenact.project.file.inherit import Inheritance
from reenact.project.file.keys import (
    CLAIMS_KEYS,
    CONFIG_KEYS,
    MODEL_KEYS,
    OPERATION_KEYS,
    PACKAGE_KEYS,
    PUBLISH_KEYS,
)
from reenact.project.file.model import (
    ClaimDef,
    FlagDef,
    ModelDef,
    OperationDef,
    OutputPattern,
    OutputScalars,
    PackageDef,
    ProjectFile,
    PublishDef,
    RequireDef,
    SourceKind,
)
from reenact.project.file.read_claims import read_claims
from reenact.project.file.read_flags import read_flags, read_flags_dest, read_flags_import
from reenact.project.file.read_inputs import InputReader, merged_sourcecode, read_file_rules
from reenact.project.file.read_steps import read_objectives, read_optimizers, read_steps
from reenact.project.file.section import Findings, Section, check_pattern, describe, truth
from reenact.project.file.yaml import Mapping, Node, Scalar, plain_data

_BODIES = ("main", "exec", "notebook", "steps")
_NAME = re.compile(r"[^\s:/=@-][^\s:/=@]*\Z")
_ESCAPES = {r"\key": r"[^ \t]+", r"\value": r"[0-9.e+-]+", r"\step": "[0-9]+"}


class Reader:
    """Reads the models of a project file and its parents."""

    def __init__(self, files: Files, findings: Findings) -> None:
        self.findings = findings
        self.inheritance = Inheritance(files, findings)
        self.inputs = InputReader(files.bases, findings)

    def read(self, unit: Unit) -> ProjectFile:
        """Return all that a project file says."""
        sections: dict[str, tuple[Item, Section]] = {}
        package: PackageDef | None = None
        claims: list[ClaimDef] = []
        for item in unit.items:
            if item.kind == "package":
                if package is not None:
                    self.findings.error(
                        item.node.place,
                        f"a second package; the first stands in {package.place}",
                    )
                package = self._read_package(item)
            elif item.kind == "config":
                self._check_config(item)
            elif item.kind == "claims":
                with self.findings.of_claims():
                    claims += self._read_claims(item, claims)
            elif item.name in sections:
                first = sections[item.name][1].node.place
                what = f"model `{item.name}`" if item.name else "model without a name"
                self.findings.error(
                    item.node.place, f"a second {what}; the first stands in {first}"
                )
            else:
                node = self.inheritance.resolve(item)
                what = f"model `{item.name}`" if item.name else "the model without a name"
                sections[item.name] = (item, Section(node, MODEL_KEYS, what, self.findings))
        for name, (_, section) in sections.items():
            operations = section.mapping("operations")
            names = () if operations is None else tuple(operations.items)
            self.inputs.operations[name] = tuple(n for n in names if n != "$include")
            self.inputs.note_stages(name, operations)
        resources = {
            name: self.inputs.read_resources(section, name)
            for name, (_, section) in sections.items()
        }
        models = [
            self._read_model(name, section, resources[name])
            for name, (_, section) in sections.items()
        ]
        return ProjectFile(models=tuple(models), package=package, claims=tuple(claims))

    def _read_claims(self, item: Item, known: Iterable[ClaimDef]) -> list[ClaimDef]:
        Section(item.node, CLAIMS_KEYS, "the claims", self.findings)
        first = {claim.name: claim.place for claim in known}
        found = []
        for claim in read_claims(item.node.items["claims"], self.findings):
            if claim.name in first:
                self.findings.error(
                    claim.place,
                    f"a second claim `{claim.name}`; the first stands in {first[claim.name]}",
                )
            else:
                found.append(claim)
        return found

    def _check_config(self, item: Item) -> None:
        """Look at a config for what is checked nowhere else: its keys. The rest is where it is used."""
        Section(
            item.node, {**CONFIG_KEYS, **OPERATION_KEYS}, f"config `{item.name}`", self.findings
        )
        operations = item.node.get("operations")
        for name, node in operations.items.items() if isinstance(operations, Mapping) else ():
            if isinstance(node, Mapping):
                Section(node, OPERATION_KEYS, f"operation `{name}`", self.findings)

    def _read_model(self, name: str, section: Section, resources: tuple[Any, ...]) -> ModelDef:
        sourcecode = self.inputs.read_sourcecode(section)
        operations = section.mapping("operations")
        found = []
        for key, node in () if operations is None else operations.items.items():
            assert operations is not None
            if isinstance(node, Mapping) and key != "$include":
                with self.findings.of_operation(name, key):
                    operation = self._read_operation(
                        key, node, operations.keys[key], name, sourcecode
                    )
                found.append(operation)
        return ModelDef(
            name=name,
            place=section.node.place,
            description=section.text("description"),
            default=section.truth("default"),
            operations=tuple(found),
            resources=resources,
            references=section.texts("references"),
            sourcecode=sourcecode,
            python_requires=section.text("python-requires"),
            plugins=_read_plugins(section),
            extra=section.data("extra"),
        )

    def _read_operation(
        self, name: str, node: Mapping, key: Scalar, model: str, model_source: Any
    ) -> OperationDef:
        section = Section(node, OPERATION_KEYS, f"operation `{name}`", self.findings)
        if not _NAME.match(name):
            self.findings.error(
                key.place,
                f"`{name}` cannot be the name of an operation",
                "leave out blanks and `: / = @`, and a dash at the beginning",
            )
        bodies = self._read_bodies(name, section)
        flags_import, import_names = read_flags_import(section)
        requires = self.inputs.read_requires(section, model)
        return OperationDef(
            name=name,
            model=model,
            place=key.place,
            base=self.inputs.base(key.place),
            description=section.text("description"),
            default=section.truth("default"),
            main=bodies.get("main"),
            exec=bodies.get("exec"),
            notebook=bodies.get("notebook"),
            steps=read_steps(section),
            flags=tuple(_with_required(flag, requires) for flag in read_flags(section)),
            flags_dest=read_flags_dest(section),
            flags_import=flags_import,
            flags_import_names=import_names,
            flags_import_skip=section.texts("flags-import-skip"),
            default_flag_arg_skip=section.truth("default-flag-arg-skip"),
            flag_encoder=section.text("flag-encoder"),
            requires=requires,
            sourcecode=merged_sourcecode(model_source, self.inputs.read_sourcecode(section)),
            output_scalars=_read_output(section, "output-scalars"),
            output_attrs=_read_output(section, "output-attrs"),
            compare=section.texts("compare") if section.get("compare") is not None else None,
            objectives=read_objectives(section),
            optimizers=read_optimizers(section),
            default_max_trials=section.integer("default-max-trials"),
            can_stage_trials=section.truth("can-stage-trials"),
            label=section.text("label"),
            tags=section.texts("tags"),
            run_attrs=section.data("run-attrs"),
            env=section.text_map("env"),
            env_secrets=section.texts("env-secrets"),
            python=section.text("python"),
            python_requires=section.text("python-requires"),
            python_path=section.texts("python-path"),
            plugins=_read_plugins(section),
            publish=self._read_publish(section),
            seed=section.truth("seed", default=True),
            stoppable=section.truth("stoppable"),
            handle_keyboard_interrupt=section.truth("handle-keyboard-interrupt"),
            pip_freeze=section.maybe("pip-freeze"),
            delete_on_success=section.truth("delete-on-success"),
            extra={
                other: plain_data(value)
                for other, value in node.items.items()
                if other not in OPERATION_KEYS or other in ("plugin-op", "pre-process", "remote")
            },
        )

    def _read_bodies(self, name: str, section: Section) -> dict[str, str]:
        """Return `main`, `exec` or `notebook`; `main` is the operation's name where all are missing."""
        written = [body for body in _BODIES if section.get(body) is not None]
        if len(written) > 1:
            self.findings.error(
                section.place(written[1]),
                f"{section.what} has both `{written[0]}` and `{written[1]}`",
            )
        texts = {body: section.text(body) for body in written if body != "steps"}
        for body, text in texts.items():
            if text is not None and _split(text) is None:
                self.findings.error(section.place(body), f"a quote is not closed in `{text}`")
        found = {body: text for body, text in texts.items() if text is not None}
        if not written:
            found["main"] = name.replace("-", "_")
        return found

    def _read_publish(self, operation: Section) -> PublishDef | None:
        node = operation.mapping("publish")
        if node is None:
            return None
        section = Section(node, PUBLISH_KEYS, f"`publish` of {operation.what}", self.findings)
        files = section.get("files")
        is_off = files is not None and truth(files) is False
        return PublishDef(
            place=node.place,
            files=() if is_off else read_file_rules(section, "files", self.findings),
            template=section.text("template"),
        )

    def _read_package(self, item: Item) -> PackageDef:
        section = Section(item.node, PACKAGE_KEYS, f"package `{item.name}`", self.findings)
        return PackageDef(
            name=item.name,
            place=item.node.place,
            description=section.text("description"),
            version=section.text("version") or "0.0.0",
            url=section.text("url"),
            author=section.text("author"),
            author_email=section.text("author-email"),
            license=section.text("license"),
            tags=section.texts("tags"),
            python_tag=section.text("python-tag"),
            data_files=section.texts("data-files"),
            python_requires=section.text("python-requires"),
            requires=section.texts("requires"),
            packages=section.text_map("packages"),
        )


def _with_required(flag: FlagDef, requires: Iterable[RequireDef]) -> FlagDef:
    """Return a flag that says what is required: it is no argument, unless it says that it is one."""
    for require in requires:
        for source in require.resource.sources if require.resource is not None else ():
            if source.flag_name != flag.name:
                continue
            if flag.arg_skip is None:
                return msgspec.structs.replace(flag, arg_skip=True)
            if source.kind is SourceKind.FILE and not flag.has_default and source.base == ".":
                return msgspec.structs.replace(flag, default=source.spec, has_default=True)
    return flag


def _read_plugins(section: Section) -> tuple[str, ...] | None:
    node = section.get("plugins")
    if node is None or truth(node) is True:
        return None
    return section.texts("plugins")


def _read_output(operation: Section, name: str) -> OutputScalars | None:
    """Return patterns for output: a mapping of names, one pattern, a list of both, or none."""
    node = operation.get(name)
    if node is None:
        return None
    place = operation.place(name)
    if truth(node) is False:
        return OutputScalars(place=place)
    if isinstance(node, Scalar) and truth(node) is True:
        return None
    patterns: list[OutputPattern] = []
    step = None
    for item in operation.listed(name):
        for key, pattern in _named_patterns(item, operation, name):
            _check_output_pattern(pattern, key, operation)
            found = OutputPattern(pattern=pattern.text, place=pattern.place, name=key)
            if key == "step":
                step = found
            else:
                patterns.append(found)
    return OutputScalars(place=place, patterns=tuple(patterns), step=step)


def _named_patterns(node: Node, operation: Section, name: str) -> list[tuple[str | None, Scalar]]:
    if isinstance(node, Scalar) and node.value is not None:
        return [(None, node)]
    if not isinstance(node, Mapping):
        operation.wrong(name, "patterns", node)
        return []
    found: list[tuple[str | None, Scalar]] = []
    for key, value in node.items.items():
        if isinstance(value, Scalar) and value.value is not None:
            found.append((key, value))
        else:
            operation.findings.error(
                value.place,
                f"`{key}` in `{name}` of {operation.what} takes a pattern, not {describe(value)}",
            )
    return found


def _check_output_pattern(node: Scalar, name: str | None, operation: Section) -> None:
    pattern = node.text
    for escape, meaning in _ESCAPES.items():
        pattern = pattern.replace(escape, meaning)
    before = len(operation.findings.all)
    check_pattern(pattern, node.place, operation.findings)
    if len(operation.findings.all) > before:
        return
    compiled = re.compile(re.sub(r"\$\{[^}]*\}", "x", pattern))
    if compiled.groups == 0:
        operation.findings.warning(
            node.place, f"the pattern `{node.text}` has no group: it finds nothing"
        )
    elif name is None and not compiled.groupindex and compiled.groups != 2:
        operation.findings.warning(
            node.place,
            f"the pattern `{node.text}` has no name: it needs two groups, for key and value, or "
            f"named ones",
        )


def _split(text: str) -> list[str] | None:
    try:
        return shlex.split(text)
    except ValueError:
        return None
