"""Keep figures, images, sound, tables, texts and distributions as outputs of the run.

A file goes below the run directory, in a directory of its kind; it is written beside and renamed,
so that what cannot be drawn leaves nothing behind. The same name and step again replaces the file.

A library is only imported where the object is one of its own. NumPy is used if the script has
imported it, and not needed.
"""

import _thread
import os
import time

# All at once: a fork while another thread imports would leave its child with a lock that nobody
# opens.
from _reenact import journal, media_arrays, media_tables, standard
from _reenact.wrap import quiet

crc32 = standard.module("zlib").crc32

MOST_BYTES = 1 << 28
"""Longer texts are cut; a remark says so."""
MOST_FILES = 1000
"""More files of one directory, and more images of one call, are not announced one by one."""

_LONGEST_PART = 150
_TEXTS = ("txt", "md", "json", "html", "xml", "yaml", "yml", "csv", "tsv", "log", "tex", "rst")
_FIGURES = ("png", "svg", "pdf")
_SHOWN = (("_repr_png_", "png"), ("_repr_svg_", "svg"), ("_repr_html_", "html"))
_ROLES = {
    "image": "png jpg jpeg gif bmp tif tiff webp",
    "figure": "svg pdf eps",
    "audio": "wav mp3 flac ogg m4a",
    "table": "csv tsv parquet feather arrow xlsx",
    "text": "txt md rst log html",
    "model": "pt pth ckpt safetensors keras h5 onnx joblib pkl pickle skops pb tflite ubj bst",
    "notebook": "ipynb",
}

_calls = {}


def log_output(path, name=None):
    """Announce a file or directory; copy it to `outputs/` if it is not in the run directory."""
    path = os.path.abspath(os.fspath(path))
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not os.path.exists(path):
        raise FileNotFoundError("there is no such file or directory")
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise ValueError("it is neither a file nor a directory")
    title = None if name is None else str(name)
    if not _is_inside(path) or os.path.islink(path):
        target = _place("outputs", title or os.path.basename(path))
        _copy(path, target)
        path = target
    if not os.path.isdir(path):
        journal.output(path, _role_of(path), title)
        return
    for count, inner in enumerate(_files_below(path)):
        if count == MOST_FILES:
            return
        journal.output(inner, _role_of(inner), title)


def log_figure(figure, name="figure", step=None):
    """Keep what matplotlib, plotly, bokeh or altair have drawn, or what shows itself in notebooks.

    The format of matplotlib's is that of the name (`.svg`, `.pdf`), else PNG.
    """
    draw, suffixes = _how_to_draw(figure)
    path = _place("figures", name, step, suffixes)
    with _Beside(path) as beside:
        draw(figure, beside, path)
    journal.output(path, "figure", str(name), step)


def log_text(text, name="text", step=None):
    """Keep a text, in UTF-8; bytes as they are."""
    if not isinstance(text, (bytes, bytearray, memoryview)):
        text = str(text).encode("utf-8", "surrogatepass")
    if len(text) > MOST_BYTES:
        journal.remark("media", "text `%s` was cut at %d bytes" % (name, MOST_BYTES))
        text = bytes(text[:MOST_BYTES])
    path = _place("texts", name, step, _TEXTS)
    _write(path, text)
    journal.output(path, "text", str(name), step)


def log_table(table, name="table", step=None):
    """Keep a table as CSV. None is an empty cell, NaN is `NaN`, floats have all their digits."""
    header, rows, count = media_tables.rows_of(table)
    path = _place("tables", name, step, ("csv",))
    if count > media_tables.MOST_ROWS:
        text = "of the %d rows of table `%s` the first %d are kept"
        journal.remark("media", text % (count, name, media_tables.MOST_ROWS))
    with _Beside(path) as beside:
        media_tables.write_csv(beside, header, rows)
    journal.output(path, "table", str(name), step)


def log_image(image, name="image", step=None):
    """Keep an image as PNG."""
    path = _place("images", name, step, ("png",))
    with _Beside(path) as beside:
        _draw_image(image, beside)
    journal.output(path, "image", str(name), step)


def log_images(images, name="images", step=None):
    """Keep several images, numbered from 0."""
    if _is_from(images, "PIL") or getattr(images, "ndim", 4) < 3:
        raise TypeError("that is one image: use log_image")
    count = len(images)
    if count > MOST_FILES:
        text = "of the %d images `%s` the first %d are kept"
        journal.remark("media", text % (count, name, MOST_FILES))
    stem = str(name)
    stem = stem[:-4] if stem.endswith(".png") else stem
    for index in range(min(count, MOST_FILES)):
        path = _place("images", "%s-%d" % (_with_step(stem, step), index), None, ("png",))
        with _Beside(path) as beside:
            _draw_image(images[index], beside)
        journal.output(path, "image", "%s %d" % (stem, index), step)


def log_audio(samples, name="audio", step=None, rate=None):
    """Keep sound as WAV, 16 bits a sample."""
    path = _place("audio", name, step, ("wav",))
    with _Beside(path) as beside:
        media_arrays.write_wav(beside, samples, rate)
    journal.output(path, "audio", str(name), step)


def log_histogram(values, name="histogram", step=None, bins=64):
    """Add the distribution of numbers as one line of JSON to the file of this name."""
    counted = media_arrays.histogram(values, bins)
    path = _place("histograms", name, None, ("jsonl",))
    is_first = path not in _calls
    if step is None:
        step = _calls.get(path, 0)
    _calls[path] = _calls.get(path, 0) + 1
    line = {"step": _whole(step), "time": time.time()}
    line.update(counted)
    _append(path, media_arrays.to_json(line).encode("ascii") + b"\n")
    if is_first:
        journal.output(path, "histogram", str(name))


# --- figures ---


def _how_to_draw(figure):
    """Return a function that draws into a file, and the formats that it knows."""
    if hasattr(figure, "savefig") or callable(getattr(figure, "get_figure", None)):
        return _from_matplotlib, _FIGURES
    if hasattr(figure, "write_html"):
        return _from_plotly, ("html",)
    if _is_from(figure, "bokeh"):
        return _from_bokeh, ("html",)
    if _is_from(figure, "altair"):
        return _from_altair, ("html",)
    if _is_from(figure, "PIL") or hasattr(figure, "__array__"):
        return _from_pixels, ("png",)
    for method, suffix in _SHOWN:
        if _shown_by(figure, method) is not None:
            return _from_itself(method), (suffix,)
    raise TypeError("it is no figure of matplotlib, plotly, bokeh or altair")


def _from_matplotlib(figure, beside, path):
    if not hasattr(figure, "savefig"):
        figure = figure.get_figure()
    with quiet():
        figure.savefig(beside, format=path.rpartition(".")[2])


def _from_plotly(figure, beside, path):
    # The program that draws weighs 5 MB: there is one for all figures of the run.
    program = os.path.join(_directory("figures"), "plotly.min.js")
    if not os.path.exists(program):
        from plotly.offline import get_plotlyjs

        _write(program, get_plotlyjs().encode("utf-8"))
    link = os.path.relpath(program, os.path.dirname(path))
    figure.write_html(beside, include_plotlyjs=link)


def _from_pixels(image, beside, path):
    _draw_image(image, beside)


def _from_itself(method):
    def draw(figure, beside, path):
        _fill(beside, _shown_by(figure, method))

    return draw


def _shown_by(figure, method):
    """Return what an object shows of itself in a notebook, or None."""
    shown = getattr(figure, method, None)
    data = shown() if callable(shown) else None
    if isinstance(data, str):
        return data.encode("utf-8", "surrogatepass")
    return data if isinstance(data, bytes) else None


def _from_bokeh(figure, beside, path):
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    title = os.path.basename(path)
    _fill(beside, file_html(figure, INLINE, title).encode("utf-8"))


def _from_altair(figure, beside, path):
    try:
        text = figure.to_html(inline=True)
    except Exception:
        # Without an extra package of altair's the page asks the network for what draws it.
        text = figure.to_html()
    _fill(beside, text.encode("utf-8"))


def _draw_image(image, beside):
    if _is_from(image, "PIL"):
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
            image = image.convert("RGB")
        image.save(beside, format="PNG")
        return
    _fill(beside, media_arrays.png(image))


def _is_from(value, package):
    """Tell whether a class of the value is of a package, which need not be imported for it."""
    mark = package + "."
    return any((kind.__module__ or "").startswith(mark) for kind in type(value).__mro__)


# --- files ---


def _place(kind, name, step=None, suffixes=()):
    """Return the path of a file of this kind; its directory exists, and is in the run directory."""
    stem, suffix = str(name), ""
    if suffixes:
        head, dot, tail = stem.rpartition(".")
        if dot and head and tail.lower() in suffixes:
            stem, suffix = head, "." + tail.lower()
        else:
            suffix = "." + suffixes[0]
    parts = [_clean(part) for part in _with_step(stem, step).split("/") if part.strip()]
    parts = [part for part in parts if part not in ("", ".")] or [kind.rstrip("s")]
    path = os.path.join(_directory(kind), *parts) + suffix
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not _is_inside(os.path.dirname(path)):
        raise OSError("a directory of `%s` is a link to outside the run directory" % name)
    return path


def _with_step(stem, step):
    return stem if step is None else "%s-%06d" % (stem, _whole(step))


def _whole(step):
    """Return a step of any type as an int; TypeError or ValueError if it is none."""
    if hasattr(step, "__index__"):
        return step.__index__()
    if isinstance(step, (str, bytes)) or float(step) != int(step):
        raise ValueError("step %r is not a whole number" % (step,))
    return int(step)


def _directory(kind):
    """Return the directory of a kind in the run directory.

    Where the project has a file of that name, or so many files in such a directory that the run
    sees it through a link, it has another name.
    """
    run = journal.run_directory()
    for number in range(1, 100):
        path = os.path.join(run, kind if number == 1 else "%s-%d" % (kind, number))
        if not os.path.lexists(path) or (os.path.isdir(path) and not os.path.islink(path)):
            return path
    raise OSError("there is no room for a directory `%s` in the run directory" % kind)


def _clean(part):
    """Return a part of a name as a file may be called on any system, and nowhere else."""
    text = "".join("_" if c < " " or c in '\\:*?"<>|\x7f' else c for c in part.strip())
    text = text.encode("utf-8", "replace").decode("utf-8")
    if text == "..":
        return "_"
    if text.startswith(".") and text != ".":
        # Hidden files are no outputs that anybody finds.
        text = "_" + text[1:]
    data = text.encode("utf-8")
    if len(data) > _LONGEST_PART:
        text = "%s-%08x" % (data[:_LONGEST_PART].decode("utf-8", "ignore"), crc32(data))
    return text


def _is_inside(path):
    run = os.path.realpath(journal.run_directory())
    record = os.path.realpath(journal.record_directory())
    real = os.path.realpath(path)
    return (real + os.sep).startswith(run + os.sep) and not (real + os.sep).startswith(
        record + os.sep
    )


class _Beside(object):
    """A path to write to that takes the place of the real one if nothing was raised."""

    def __init__(self, path):
        self.path = path
        directory, name = os.path.split(path)
        suffix = name.rpartition(".")[2]
        who = (os.getpid(), _thread.get_ident(), time.time_ns(), suffix)
        self.beside = os.path.join(directory, ".%d-%x-%x.tmp.%s" % who)

    def __enter__(self):
        return self.beside

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                os.replace(self.beside, self.path)
        finally:
            try:
                os.unlink(self.beside)
            except OSError:
                pass


def _write(path, data):
    with _Beside(path) as beside:
        _fill(beside, data)


def _fill(path, data):
    with open(path, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def _append(path, line):
    """Add a line in one write, so that lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if os.write(descriptor, line) != len(line):
            # The next line must not go on where this one broke off.
            os.write(descriptor, b"\n")
            raise OSError("no room for a line")
    finally:
        os.close(descriptor)


def _copy(path, target):
    shutil = standard.module("shutil")
    size = sum(os.path.getsize(inner) for inner in _files_below(path))
    room = os.statvfs(os.path.dirname(target))
    if size > room.f_bavail * room.f_frsize:
        raise OSError("there is no room in the run directory for its %d bytes" % size)
    beside = "%s.%d-%x.tmp" % (target, os.getpid(), time.time_ns())
    try:
        if not os.path.isdir(path):
            shutil.copy2(path, beside)
            os.replace(beside, target)
            return
        # Links stay links: what one leads to may hold the link. Pipes and devices have no content.
        shutil.copytree(path, beside, symlinks=True, ignore=_not_files)
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        os.replace(beside, target)
    except BaseException:
        if os.path.isdir(beside):
            shutil.rmtree(beside, ignore_errors=True)
        elif os.path.lexists(beside):
            os.unlink(beside)
        raise


def _not_files(at, names):
    kinds = ((name, os.lstat(os.path.join(at, name)).st_mode & 0o170000) for name in names)
    return [name for name, kind in kinds if kind not in (0o100000, 0o040000, 0o120000)]


def _files_below(path):
    if not os.path.isdir(path):
        yield path
    for at, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            inner = os.path.join(at, name)
            if os.path.isfile(inner):
                yield inner


def _role_of(path):
    suffix = path.rpartition(".")[2].lower()
    for role, suffixes in _ROLES.items():
        if suffix in suffixes.split():
            return role
    return "file"


def _forget_calls():
    _calls.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_calls)
