"""Read what an operation is made of: resources, what it requires, and its source files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping as Mapping_

import msgspec

from reenact.project.file.keys import (
    RESOURCE_KEYS,
    RULE_KEYS,
    RULE_TYPES,
    SOURCE_KEYS,
    SOURCE_KINDS,
    SOURCECODE_KEYS,
)
from reenact.project.file.model import (
    FileRule,
    Place,
    Rename,
    RequireDef,
    ResourceDef,
    ResourceSource,
    Select,
    SourcecodeRules,
    SourceKind,
    operation_name,
)
from reenact.project.file.section import (
    Findings,
    Section,
    check_pattern,
    describe,
    did_you_mean,
    truth,
)
from reenact.project.file.yaml import Mapping, Node, Scalar, Sequence, is_null

_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_TARGET_TYPES = ("copy", "link")
_STAGE = "dvc-stage"


class InputReader:
    """Reads resources and source rules of one project file.

    Attributes:
        bases: base directory by file.
        resources: every named resource, by model and name.
        operations: names of all operations, by model.
        stages: operations that are a stage of DVC, by its name.
    """

    def __init__(self, bases: Mapping_[str, str], findings: Findings) -> None:
        self.bases = bases
        self.findings = findings
        self.resources: dict[tuple[str, str], ResourceDef] = {}
        self.operations: dict[str, tuple[str, ...]] = {}
        self.stages: dict[str, list[str]] = {}

    def base(self, place: Place) -> str:
        """Return the directory that paths written at a place are relative to."""
        return self.bases.get(place.file, ".")

    def note_stages(self, model: str, operations: Mapping | None) -> None:
        """Remember which operations of a model say by `run-attrs` that they are stages of DVC."""
        for name, node in () if operations is None else operations.items.items():
            facts = node.get("run-attrs") if isinstance(node, Mapping) else None
            stage = facts.get(_STAGE) if isinstance(facts, Mapping) else None
            if isinstance(stage, Scalar) and stage.value is not None:
                self.stages.setdefault(stage.text, []).append(operation_name(model, name))

    def read_resources(self, model: Section, name: str) -> tuple[ResourceDef, ...]:
        """Return a model's resources, and remember them for what requires them."""
        resources = model.mapping("resources")
        found = []
        for key, node in () if resources is None else resources.items.items():
            if key == "$include":
                continue
            assert resources is not None
            place = resources.keys[key].place
            with self.findings.of_resource(name, key):
                resource = self._read_resource(node, place, key, name)
            if resource is not None:
                self.resources[name, key] = resource
                found.append(resource)
        return tuple(found)

    def read_requires(self, operation: Section, model: str) -> tuple[RequireDef, ...]:
        """Return what an operation requires."""
        node = operation.get("requires")
        if node is None or truth(node) is False:
            return ()
        found = []
        for item in operation.listed("requires"):
            required = self._read_required(item, model, operation)
            if required is not None:
                found.append(required)
        return tuple(found)

    def _read_required(self, node: Node, model: str, operation: Section) -> RequireDef | None:
        if isinstance(node, Scalar) and node.value is not None:
            return self._named(node.text.strip(), node.place, model, None, operation)
        if not isinstance(node, Mapping):
            self.findings.error(
                node.place,
                f"`requires` of {operation.what} takes resources, not {describe(node)}",
            )
            return None
        reference = node.get("resource")
        if isinstance(reference, Scalar):
            keys = dict.fromkeys(("resource", "description"), RESOURCE_KEYS["name"])
            section = Section(node, keys, f"what {operation.what} requires", self.findings)
            text, description = reference.text.strip(), section.text("description")
            return self._named(text, reference.place, model, description, operation)
        resource = self._read_resource(node, node.place, None, model)
        if resource is None:
            return None
        return RequireDef(place=node.place, resource=resource, description=resource.description)

    def _named(
        self, text: str, place: Place, model: str, description: str | None, operation: Section
    ) -> RequireDef | None:
        resource = None
        if "/" not in text and "${" not in text:
            resource = self._find(text, place, model)
            owner, colon, name = text.rpartition(":")
            is_bad = self.findings.requires(owner if colon else model, name)
            if resource is None and not is_bad:
                known = [name for owner, name in self.resources if owner == model]
                known += [f"{owner}:{name}" for owner, name in self.resources if owner != model]
                known += self.operations.get(model, ())
                self.findings.error(
                    place,
                    f"{operation.what} requires `{text}`, which is neither a resource nor an "
                    f"operation",
                    did_you_mean(text, known),
                )
                return None
        return RequireDef(place=place, reference=text, resource=resource, description=description)

    def _find(self, text: str, place: Place, model: str) -> ResourceDef | None:
        owner, colon, name = text.rpartition(":")
        owner = owner if colon else model
        found = self.resources.get((owner, name))
        if found is not None:
            return found
        if name not in self.operations.get(owner, ()):
            return None
        source = ResourceSource(kind=SourceKind.OPERATION, spec=text, place=place, name=text)
        return ResourceDef(place=place, name=text, model=model, sources=(source,))

    def _read_resource(
        self, node: Node, place: Place, name: str | None, model: str
    ) -> ResourceDef | None:
        what = f"resource `{name}`" if name is not None else "the resource"
        if isinstance(node, Sequence):
            node = Mapping(
                {"sources": node}, {"sources": Scalar("sources", node.place, is_plain=True)}, place
            )
        if not isinstance(node, Mapping):
            self.findings.error(node.place, f"{what} takes a mapping or a list of sources")
            return None
        if name is None and "sources" not in node.items:
            return self._read_inline(node, place, model)
        if "sources" not in node.items:
            kind = next((k for k in SOURCE_KINDS if k in node.items), None)
            hint = None if kind is None else f"write `sources:`, and below it `- {kind}: …`"
            self.findings.error(place, f"{what} has no `sources`", hint)
            return None
        section = Section(node, RESOURCE_KEYS, what, self.findings)
        own = section.text("name") or name
        resource = ResourceDef(
            place=place,
            name=own,
            model=model,
            description=section.text("description"),
            private=section.truth("private"),
            flag_name=section.text("flag-name"),
            references=section.texts("references"),
        )
        defaults = {
            "target_path": section.text("target-path") or section.text("path"),
            "target_type": section.one_of("target-type", _TARGET_TYPES),
            "unpack": section.truth("default-unpack", default=True),
            "preserve_path": section.truth("preserve-path"),
        }
        sources = [self._read_source(item, what, defaults) for item in section.listed("sources")]
        found = tuple(source for source in sources if source is not None)
        return msgspec.structs.replace(resource, sources=found)

    def _read_inline(self, node: Mapping, place: Place, model: str) -> ResourceDef | None:
        """Read a source that stands alone at `requires`: the resource is called as it is."""
        source = self._read_source(node, "`requires`", {})
        if source is None:
            return None
        name = node.get("name")
        return ResourceDef(
            place=place,
            name=name.text if isinstance(name, Scalar) else None,
            model=model,
            flag_name=source.flag_name,
            sources=(source,),
        )

    def _read_source(
        self, node: Node, what: str, defaults: Mapping_[str, str | bool | None]
    ) -> ResourceSource | None:
        if isinstance(node, Scalar) and node.value is not None:
            key = Scalar("file", node.place, is_plain=True)
            node = Mapping({"file": node}, {"file": key}, node.place)
        if not isinstance(node, Mapping):
            self.findings.error(
                node.place, f"a source of {what} is a mapping, not {describe(node)}"
            )
            return None
        kinds = [kind for kind in SOURCE_KINDS if not is_null(node.get(kind))]
        if len(kinds) != 1:
            listed = ", ".join(f"`{kind}`" for kind in kinds or SOURCE_KINDS)
            problem = "has more than one of" if kinds else "has none of"
            first = next(iter(node.items), None)
            hint = None if kinds or first is None else did_you_mean(first, SOURCE_KINDS)
            self.findings.error(node.place, f"a source of {what} {problem} {listed}", hint)
            return None
        section = Section(node, SOURCE_KEYS, f"a source of {what}", self.findings)
        kind = kinds[0]
        spec = section.text(kind)
        if spec is None:
            return None
        shown = spec if kind in ("operation", "url") else f"{kind}:{spec}"
        if kind == "dvcstage":
            kind, spec = "operation", self._operations_of_stage(spec, node.items[kind].place)
        return ResourceSource(
            kind=SourceKind(kind),
            spec=spec,
            place=node.place,
            base=self.base(node.items[kinds[0]].place),
            name=section.text("name") or shown,
            flag_name=section.text("flag-name"),
            target_path=section.text("target-path")
            or section.text("path")
            or _text_or_none(defaults.get("target_path")),
            target_type=section.one_of("target-type", _TARGET_TYPES)
            or _text_or_none(defaults.get("target_type")),
            select=_read_select(section),
            rename=_read_rename(section),
            unpack=section.truth("unpack", default=bool(defaults.get("unpack", True))),
            type=section.text("type"),
            sha256=_read_sha256(section),
            post_process=section.text("post-process"),
            warn_if_empty=section.truth("warn-if-empty", default=True),
            fail_if_empty=section.truth("fail-if-empty"),
            optional=section.truth("optional"),
            always_resolve=section.truth("always-resolve"),
            replace_existing=section.truth("replace-existing"),
            preserve_path=section.truth(
                "preserve-path", default=bool(defaults.get("preserve_path"))
            ),
            params=section.values("params"),
            help=section.text("help"),
            always_pull=section.truth("always-pull"),
            remote=section.text("remote"),
        )

    def _operations_of_stage(self, stage: str, place: Place) -> str:
        """Return the operations that a stage of DVC is, as `operation` of a source names them."""
        if stage not in self.stages:
            self.findings.error(
                place,
                f"no operation is the stage `{stage}` of DVC",
                did_you_mean(stage, self.stages)
                or f"write `run-attrs: {{{_STAGE}: {stage}}}` at the operation that runs it",
            )
        return ",".join(self.stages.get(stage, ()))

    def read_sourcecode(self, owner: Section) -> SourcecodeRules | None:
        """Return what an operation or model says of its source; None where it says nothing."""
        node = owner.get("sourcecode")
        if node is None:
            return None
        place = owner.place("sourcecode")
        if truth(node) is False or (isinstance(node, Sequence) and not node.items):
            return SourcecodeRules(place=place, is_off=True)
        if not isinstance(node, Mapping) or "include" in node.items or "exclude" in node.items:
            return SourcecodeRules(
                place=place, rules=read_file_rules(owner, "sourcecode", self.findings)
            )
        section = Section(node, SOURCECODE_KEYS, f"`sourcecode` of {owner.what}", self.findings)
        select = section.get("select")
        is_off = select is not None and truth(select) is False
        return SourcecodeRules(
            place=place,
            is_off=is_off,
            rules=() if is_off else read_file_rules(section, "select", self.findings),
            root=section.text("root"),
            base=self.base(place),
            dest=section.text("dest"),
            digest=section.maybe("digest"),
        )


def merged_sourcecode(
    model: SourcecodeRules | None, own: SourcecodeRules | None
) -> SourcecodeRules | None:
    """Return the rules of an operation: those of its model, then its own."""
    if model is None or own is None:
        return own if model is None else model
    if own.is_off or (model.is_off and not own.rules):
        return msgspec.structs.replace(own, is_off=True)
    return SourcecodeRules(
        place=own.place,
        rules=(*model.rules, *own.rules),
        root=own.root if own.root is not None else model.root,
        base=own.base if own.root is not None else model.base,
        dest=own.dest if own.dest is not None else model.dest,
        digest=own.digest if own.digest is not None else model.digest,
    )


def read_file_rules(owner: Section, name: str, findings: Findings) -> tuple[FileRule, ...]:
    """Return rules that choose files. Patterns alone choose those files and no other ones."""
    items = owner.listed(name)
    rules = []
    are_patterns = bool(items)
    for item in items:
        if isinstance(item, Scalar):
            if item.value is None or isinstance(item.value, bool):
                owner.wrong(name, "patterns or rules", item)
                continue
            rules.append(FileRule(is_include=True, patterns=(item.text,), place=item.place))
        elif isinstance(item, Mapping):
            are_patterns = False
            rules += _read_rule(item, name, owner, findings)
        else:
            owner.wrong(name, "patterns or rules", item)
    if are_patterns and rules:
        rules.insert(0, FileRule(is_include=False, patterns=("*",), place=rules[0].place))
    return tuple(rules)


def _read_rule(node: Mapping, name: str, owner: Section, findings: Findings) -> list[FileRule]:
    section = Section(node, RULE_KEYS, f"a rule in `{name}` of {owner.what}", findings)
    kinds = [kind for kind in RULE_KEYS if kind in node.items]
    if len(kinds) != 1:
        findings.error(
            node.place, f"a rule in `{name}` of {owner.what} has one of `include` and `exclude`"
        )
        return []
    kind = kinds[0]
    value = node.items[kind]
    is_include = kind == "include"
    if not isinstance(value, Mapping):
        return [FileRule(is_include=is_include, patterns=section.texts(kind), place=node.place)]
    rules = []
    for file_type in value.items:
        if file_type not in RULE_TYPES:
            findings.error(
                value.keys[file_type].place,
                f"`{kind}` takes patterns, or one of `dir`, `text`, `binary`, not `{file_type}`",
                did_you_mean(file_type, RULE_TYPES),
            )
            continue
        inner = Section(value, dict.fromkeys(RULE_TYPES, RULE_KEYS["include"]), kind, findings)
        patterns = inner.texts(file_type)
        rules.append(
            FileRule(is_include=is_include, patterns=patterns, place=node.place, type=file_type)
        )
    return rules


def _read_select(source: Section) -> tuple[Select, ...]:
    found = [Select(pattern=pattern) for pattern in source.patterns("select")]
    for name, reduce in (("select-min", "min"), ("select-max", "max")):
        for pattern in source.patterns(name):
            if "(" not in pattern:
                source.findings.error(
                    source.place(name), f"`{name}` needs a group around the number: `{pattern}`"
                )
            found.append(Select(pattern=pattern, reduce=reduce))
    return tuple(found)


def _read_rename(source: Section) -> tuple[Rename, ...]:
    found = []
    for item in source.listed("rename"):
        if isinstance(item, Mapping):
            pattern, replacement = item.get("pattern"), item.get("repl")
            if isinstance(pattern, Scalar) and isinstance(replacement, Scalar):
                found.append(Rename(pattern.text, replacement.text))
                continue
        elif isinstance(item, Scalar) and item.value is not None:
            words = _rename_words(item.text)
            if len(words) == 2:
                found.append(Rename(*words))
                continue
            if len(words) == 1:
                found.append(Rename(".*", words[0]))
                continue
        source.wrong("rename", "`PATTERN REPLACEMENT`, or a mapping of `pattern` and `repl`", item)
    for rename in found:
        _check_rename(rename, source)
    return tuple(found)


def _rename_words(text: str) -> list[str]:
    """Split as a shell does, but keep backslashes: they are groups."""
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.escape = ""
        lexer.commenters = ""
        return list(lexer)
    except ValueError:
        return []


def _check_rename(rename: Rename, source: Section) -> None:
    check_pattern(rename.pattern, source.node.items["rename"].place, source.findings)


def _read_sha256(source: Section) -> str | None:
    text = source.text("sha256")
    if text is not None and not _SHA256.match(text) and "${" not in text:
        source.findings.error(
            source.node.items["sha256"].place,
            f"`{text}` is no SHA-256 digest: it has 64 hexadecimal digits",
        )
        return None
    return None if text is None else text.lower()


def _text_or_none(value: str | bool | None) -> str | None:
    return value if isinstance(value, str) else None
