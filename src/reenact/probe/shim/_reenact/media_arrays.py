"""Turn arrays of any library, and lists of lists, into PNG, WAV and counted intervals.

NumPy does the work where the script has imported it, plain Python where it has not.
"""

import sys

from _reenact import standard

array = standard.module("array")
math = standard.module("math")
struct = standard.module("struct")
zlib = standard.module("zlib")

MOST_PIXELS = 200000000
MOST_SAMPLES = 500000000
MOST_BINS = 10000
MOST_NUMBERS = 50000000
"""Of lists without NumPy; arrays may be of any size."""

_CHANNELS = {1: 0, 3: 2, 4: 6}
"""Channels of an image -> the type of colour in PNG's header."""


def plain(values):
    """Return an array of NumPy where the script has it, else lists; bring it to the processor."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) in ("torch.bfloat16", "torch.float16"):
            values = values.float()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        found = numpy.asarray(values)
        if found.dtype.kind in "biuf":
            return found
        if found.dtype.kind == "V" and hasattr(values, "astype"):
            # bfloat16 and its like, of jax and TensorFlow.
            return found.astype("float32")
        raise TypeError("its elements are no numbers")
    if hasattr(values, "tolist"):
        return values.tolist()
    return values


def shape_of(values):
    """Return the sizes of the dimensions of what `plain` has returned."""
    shape = getattr(values, "shape", None)
    if shape is not None:
        return tuple(shape)
    sizes = []
    while hasattr(values, "__len__") and not isinstance(values, (str, bytes)):
        sizes.append(len(values))
        if not len(values):
            break
        values = values[0]
    return tuple(sizes)


# --- images ---


def png(image):
    """Return a PNG of pixels: (height, width) or (height, width, 1, 3 or 4), or channels first."""
    pixels = plain(image)
    shape = shape_of(pixels)
    if len(shape) == 2:
        height, width, channels = shape[0], shape[1], 1
    elif len(shape) == 3 and shape[2] in _CHANNELS:
        height, width, channels = shape
    elif len(shape) == 3 and shape[0] in _CHANNELS:
        channels, height, width = shape
        pixels = _channels_last(pixels)
    else:
        raise TypeError("its shape %s is none of an image" % (shape,))
    if not height or not width:
        raise ValueError("an image of %d x %d pixels" % (width, height))
    if height * width > MOST_PIXELS:
        raise ValueError("%d x %d pixels are more than %d" % (width, height, MOST_PIXELS))
    if hasattr(pixels, "dtype"):
        rows = _rows_of_array(pixels)
    else:
        rows = _rows_of_lists(pixels, width * channels)
    return _encode_png(rows, width, height, _CHANNELS[channels])


def _channels_last(pixels):
    if hasattr(pixels, "transpose"):
        return pixels.transpose(1, 2, 0)
    return [[list(pixel) for pixel in zip(*rows)] for rows in zip(*pixels)]


def _rows_of_array(pixels):
    numpy = sys.modules["numpy"]
    kind = pixels.dtype.kind
    flat = pixels.reshape(pixels.shape[0], -1)
    for at in range(0, len(flat), 64):
        rows = flat[at : at + 64]
        if kind == "f":
            rows = numpy.nan_to_num(rows.astype("float64"), nan=0.0, posinf=1.0, neginf=0.0)
            rows = numpy.floor(numpy.clip(rows, 0.0, 1.0) * 255.0 + 0.5)
        elif kind == "b":
            rows = rows.astype("uint8") * 255
        else:
            rows = numpy.clip(rows, 0, 255)
        for row in rows.astype("uint8"):
            yield row.tobytes()


def _rows_of_lists(pixels, length):
    lines = [_flat(row) for row in pixels]
    if any(len(line) != length for line in lines):
        raise ValueError("its rows are not equally long")
    is_float = any(type(value) is float for line in lines for value in line)
    scale = _pixel_of_float if is_float else _pixel_of_int
    for line in lines:
        yield bytes(map(scale, line))


def _pixel_of_float(value):
    if value != value:
        return 0
    return int(min(max(value, 0.0), 1.0) * 255.0 + 0.5)


def _pixel_of_int(value):
    if value is True or value is False:
        return 255 * value
    return min(max(int(value), 0), 255)


def _encode_png(rows, width, height, colour):
    packer = zlib.compressobj(6)
    body = []
    for row in rows:
        body.append(packer.compress(b"\0" + row))
    body.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", b"".join(body)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# --- sound ---


def write_wav(path, samples, rate):
    """Write sound of shape (n,) or (n, channels), or channels first, to a file."""
    if float(rate) != int(rate) or not 0 < int(rate) < 1 << 32:
        raise ValueError("a rate of %r samples per second" % (rate,))
    sound = plain(samples)
    shape = shape_of(sound)
    if len(shape) == 2 and shape[0] <= 32 < shape[1]:
        sound = sound.transpose() if hasattr(sound, "transpose") else list(zip(*sound))
        shape = (shape[1], shape[0])
    if len(shape) not in (1, 2) or (len(shape) == 2 and not 0 < shape[1] <= 32):
        raise TypeError("its shape %s is none of sound" % (shape,))
    channels = shape[1] if len(shape) == 2 else 1
    if shape[0] * channels > MOST_SAMPLES:
        raise ValueError("%d samples are more than %d" % (shape[0] * channels, MOST_SAMPLES))
    data = _frames_of_array(sound) if hasattr(sound, "dtype") else _frames_of_lists(sound)
    data = bytes(data)
    frame = 2 * channels
    # RIFF WAVE with linear PCM; the sizes have 32 bits, which MOST_SAMPLES keeps.
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, int(rate),
                       int(rate) * frame & 0xFFFFFFFF, frame, 16)  # fmt: skip
    with open(path, "wb") as file:
        file.write(struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE") + form)
        file.write(struct.pack("<4sI", b"data", len(data)))
        file.write(data)


def _frames_of_array(sound):
    numpy = sys.modules["numpy"]
    if sound.dtype.kind == "f":
        sound = numpy.nan_to_num(sound.astype("float64"), nan=0.0, posinf=1.0, neginf=-1.0)
        sound = numpy.rint(numpy.clip(sound, -1.0, 1.0) * 32767.0)
    return numpy.clip(sound, -32768, 32767).astype("<i2").tobytes()


def _frames_of_lists(sound):
    values = _flat(sound)
    if any(type(value) is float for value in values):
        values = [0 if v != v else round(min(max(v, -1.0), 1.0) * 32767.0) for v in values]
    frames = array.array("h", [min(max(int(value), -32768), 32767) for value in values])
    if sys.byteorder == "big":
        frames.byteswap()
    return frames.tobytes()


# --- distributions ---


def histogram(values, bins):
    """Count numbers in intervals of equal width.

    Returns:
        `count` of finite numbers, `nan_count`, `infinite_count`, `minimum`, `maximum`, `mean`,
        `edges` (one more than there are intervals) and `counts`; the last interval has both edges.
    """
    bins = int(bins)
    if not 0 < bins <= MOST_BINS:
        raise ValueError("%d bins: there are 1 to %d" % (bins, MOST_BINS))
    numbers = plain(values)
    if hasattr(numbers, "dtype"):
        return _histogram_of_array(numbers, bins)
    return _histogram_of_list(_flat(numbers), bins)


def _histogram_of_array(numbers, bins):
    numpy = sys.modules["numpy"]
    numbers = numbers.reshape(-1).astype("float64")
    finite = numbers[numpy.isfinite(numbers)]
    nan_count = int(numpy.isnan(numbers).sum())
    infinite = len(numbers) - len(finite) - nan_count
    if not len(finite):
        return _histogram(0, nan_count, infinite, None, None, None, [], [])
    low, high = float(finite.min()), float(finite.max())
    edges = _edges(low, high, bins)
    counts, _ = numpy.histogram(finite, bins=numpy.array(edges))
    mean = float(numpy.mean(finite))
    return _histogram(len(finite), nan_count, infinite, low, high, mean, edges, counts.tolist())


def _histogram_of_list(numbers, bins):
    numbers = [float(number) for number in numbers]
    finite = [number for number in numbers if number - number == 0.0]
    nan_count = sum(number != number for number in numbers)
    infinite = len(numbers) - len(finite) - nan_count
    if not finite:
        return _histogram(0, nan_count, infinite, None, None, None, [], [])
    from bisect import bisect_right

    low, high = min(finite), max(finite)
    edges = _edges(low, high, bins)
    counts = [0] * (len(edges) - 1)
    for number in finite:
        counts[min(bisect_right(edges, number), len(counts)) - 1] += 1
    mean = math.fsum(number / len(finite) for number in finite)
    return _histogram(len(finite), nan_count, infinite, low, high, mean, edges, counts)


def _edges(low, high, bins):
    if low == high:
        return [low, high]
    # Halves, because the difference of two floats may be too large for one.
    edges = [2.0 * ((low / 2) + (high / 2 - low / 2) * i / bins) for i in range(bins + 1)]
    edges[0], edges[-1] = low, high
    # Between neighbouring floats there are not so many edges.
    return sorted(set(edges))


def _histogram(count, nan_count, infinite_count, minimum, maximum, mean, edges, counts):
    return {
        "count": count,
        "nan_count": nan_count,
        "infinite_count": infinite_count,
        "minimum": minimum,
        "maximum": maximum,
        "mean": mean,
        "edges": edges,
        "counts": counts,
    }


def to_json(value):
    """Return JSON for a dictionary of what `histogram` returns."""
    from _reenact import journal

    return journal.encode(value)


def _flat(values):
    """Return the numbers in lists of lists as one list."""
    if not hasattr(values, "__len__") or isinstance(values, (str, bytes)):
        if not hasattr(values, "__iter__") or isinstance(values, (str, bytes)):
            return [values]
    found = []
    waiting = [iter(values)]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, (int, float)):
                found.append(value)
            elif isinstance(value, (str, bytes)):
                raise TypeError("its elements are no numbers")
            elif hasattr(value, "__iter__"):
                waiting.append(iter(value))
                break
            else:
                found.append(float(value))
        else:
            waiting.pop()
        if len(found) > MOST_NUMBERS:
            raise ValueError("more than %d numbers" % MOST_NUMBERS)
    return found
