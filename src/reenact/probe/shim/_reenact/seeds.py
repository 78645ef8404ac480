"""Seeds: what random generators begin with whose seed the script leaves to chance.

The run's seed is drawn, or given, outside; here it gets to `random`, NumPy, PyTorch and TensorFlow at
the moment when they have been imported, as if the script did that first of all. What the script seeds
itself, it seeds later, and that counts. Generators that are made without a seed (`random.Random()`,
`numpy.random.default_rng()`) get one that follows from the run's seed and from how many were made
before. `os.urandom`, `secrets`, `random.SystemRandom`, UUIDs and names of temporary files stay what
they are: chance.

The run's first process has the run's seed. Processes that it starts have others:

* a rank of `torchrun` has the run's seed, as all the other ranks;
* a worker of multiprocessing (spawn, forkserver) or loky has one that follows from its number;
* a fork goes on with what its parent had, as in plain Python, where only `random` begins anew;
* any other process has one that follows from its command, and from how many processes of the run
  had that command before.

JAX has no generator: a script makes its keys itself, and where it does is noted.

Covered: Python 3.8 and later, NumPy 1.17 to 2, PyTorch 1.8 to 2, TensorFlow 2, JAX.
Not covered: CuPy; generators of native libraries.
"""

import atexit
import os
import sys
import time

from _reenact import RENEWALS, tell_of_chance

_HERE = __file__.rpartition("/")[0]
_UNSEEN = _HERE + "/importlib._bootstrap"
"""Python leaves out files of such a name when it looks for the line that a warning is about."""
_MASK = (1 << 64) - 1
_LIBRARY = os.path.dirname(os.__file__)
_STANDARD = ("random", "uuid")
_UNTOUCHED = ("tempfile",)
"""Modules whose generators stay chance: names that nobody else can know."""
_WORKER_MARKS = ("--multiprocessing-fork", "multiprocessing.", "loky.backend", "popen_loky")
_MPI_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
_MOST_NOTES = 50


class _State(object):
    """What is seeded in this process, and with what.

    Attributes:
        run_seed: the run's; None when nothing is to be seeded.
        seed: this process's own; None as long as nobody has asked.
        drawn: sort of generator -> how many were made without a seed.
        forks: how many there were of this process.
        depth: how many forks lead from the start of an interpreter to here.
        by_script: generators that the script has seeded in this process.
        reseed: generator -> function that gives it this process's seed.
    """

    def __init__(self):
        self.run_seed = None
        self.seed = None
        self.drawn = {}
        self.forks = 0
        self.depth = 0
        self.by_script = set()
        self.places = {}
        self.notes = 0
        self.reseed = {}


_state = _State()


def begin(seed):
    """Seed from now on what is imported, and generators that are made without a seed."""
    _state.run_seed = seed
    _state.seed = None
    _state.drawn = {}
    _state.by_script = set()
    _state.places = {}


def begin_here(seed):
    """Seed what this process has imported already, and what it will import; None: no more."""
    begin(seed)
    _state.seed = seed
    if seed is not None:
        for name in _AFTER:
            module = sys.modules.get(name)
            if module is not None and name not in _done:
                after(name, module)
            elif name in _done and name in _state.reseed:
                _state.reseed[name]()
                _tell_seeded(name)


_done = set()


def is_on():
    """Tell whether anything is to be seeded."""
    return _state.run_seed is not None


def after(name, module):
    """Seed a module that has just been imported."""
    if name in _done:
        return
    _done.add(name)
    if name in _STANDARD and os.path.dirname(getattr(module, "__file__", "")) != _LIBRARY:
        return  # A module of the script's own that has the name of one of Python's.
    _AFTER[name](module)


def derive(seed, *words):
    """Return 64 bits that follow from a seed and some words."""
    found = _mix(seed & _MASK) ^ _mix(seed >> 64)
    for word in words:
        for byte in str(word).encode("utf-8", "surrogateescape"):
            found = _mix(found ^ byte)
        found = _mix(found ^ 0x100)
    return found


def _mix(number):
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


# --- which process this is ---


def process_seed():
    """Return the seed of this process."""
    if _state.seed is None:
        _state.seed = _find_seed(_state.run_seed)
    return _state.seed


def _find_seed(run_seed):
    environ = os.environ
    if environ.get("REENACT_SUPERVISOR") == str(os.getppid()) and os.getpid() == os.getpgrp():
        return run_seed
    words = _command()
    is_worker = any(mark in word for mark in _WORKER_MARKS for word in words)
    if not is_worker:
        rank = environ.get("RANK")
        if rank is not None and "WORLD_SIZE" in environ and "LOCAL_RANK" in environ:
            again = _claim("rank", rank)
            return run_seed if again == 0 else _short(derive(run_seed, "rank", rank, again))
        for name in _MPI_RANKS:
            if name in environ:
                words.append("%s=%s" % (name, environ[name]))
    words = [_steady(word) for word in words]
    return _short(derive(run_seed, "process", _claim(*words), *words))


def _short(number):
    """Return a seed that all generators take."""
    return number >> 32


def _command():
    from _reenact import _command as command

    return command()[1:]


def _steady(word):
    """Return a word of a command without what may be another one in the next run."""
    environ = os.environ
    for variable in ("REENACT_STAGE", "REENACT_RECORD_DIR", "REENACT_PROJECT"):
        directory = environ.get(variable)
        if directory:
            word = word.replace(directory, "")
    if any(place in word for place in (environ.get("TMPDIR") or "/tmp/", "/tmp/")):  # noqa: S108
        return "*"
    # Ports, process ids, moments and hashes.
    kept = []
    digits = ""
    for sign in word + " ":
        if sign in "0123456789abcdefABCDEF":
            digits += sign
            continue
        is_name = len(digits) >= (5 if digits.isdigit() else 8)
        kept += ["*" if is_name and any(d.isdigit() for d in digits) else digits, sign]
        digits = ""
    return "".join(kept)


def _claim(*words):
    """Return how many processes of the run have claimed the same words before.

    Each adds 8 bytes to a file of the run: no two have the same number, however close they come.
    """
    key = derive(0, *words).to_bytes(8, "little")
    try:
        path = os.environ["REENACT_RECORD_DIR"] + "/seeds"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
        try:
            os.write(descriptor, key)
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            before = os.pread(descriptor, end - 8, 0)
        finally:
            os.close(descriptor)
    except (OSError, KeyError):
        return os.getpid()  # Another one than its like, if not the same one in the next run.
    return before.count(key)


def _is_worker_here():
    return _state.depth > 0 or any(m in w for m in _WORKER_MARKS for w in _command())


def draw(sort, bits):
    """Return entropy for a generator of a sort that is made without a seed."""
    number = _state.drawn[sort] = _state.drawn.get(sort, 0) + 1
    seed = process_seed()
    found = 0
    for part in range((bits + 63) // 64):
        found = found << 64 | derive(seed, sort, number, part)
    return found & ((1 << bits) - 1)


def _before_fork():
    if _state.run_seed is not None:
        process_seed()  # Only here it is known which process this is.
    _state.forks += 1


def _after_fork():
    if _state.run_seed is not None:
        _state.seed = _short(derive(process_seed(), "fork", _state.forks))
    _state.forks = 0
    _state.depth += 1
    _state.drawn = {}


os.register_at_fork(before=_before_fork)
RENEWALS.append(_after_fork)


def _begin_worker(identity, name):
    """Seed a worker of multiprocessing, now that it knows which one it is."""
    if _state.run_seed is None:
        return
    words = _command()
    is_served = any("multiprocessing.forkserver" in word for word in words)
    if _state.depth != (1 if is_served else 0):
        return  # A fork, which goes on with what its parent had.
    words = ("worker",) + tuple(identity or (name,))
    _state.seed = _short(derive(_state.run_seed, _claim(*words), *words))
    _state.drawn = {}
    for generator, reseed in list(_state.reseed.items()):
        if generator not in _state.by_script:
            reseed()


# --- what the script seeds ---


def note(generator, value, frame, is_shared=True):
    """Take note that the script seeds a generator.

    Of one that is shared it is told, too, when a library does so while it is imported.
    """
    from _reenact import chances

    place, _ = chances.find_place(frame, True)
    if place is None and not is_shared:
        return
    _state.by_script.add(generator)
    at = frame if place is None else place
    key = (at.f_code, at.f_lineno)
    if _state.places.get(generator) == key or _state.notes >= _MOST_NOTES or _is_worker_here():
        return
    _state.places[generator] = key
    _state.notes += 1
    said = {"generator": generator, "value": _text(value)}
    if place is not None:
        said["at"] = chances.where(place)
    else:
        said["by"] = str(frame.f_globals.get("__name__"))
    tell_of_chance(said)
    if place is not None and _is_moment(value):
        chances.note("time", generator + " seeded with the time", place)


def _text(value):
    if isinstance(value, (int, float, str, bytes)):
        text = repr(value)
        return text if len(text) <= 40 else text[:37] + "..."
    return type(value).__name__


def _is_moment(value):
    """Tell whether a seed is the time, as `time.time()` and its kin give it."""
    if type(value) not in (int, float):
        return False
    now = time.time()
    return any(abs(value - now * unit) < 5 * unit for unit in (1, 1e3, 1e6, 1e9))


def _tell_seeded(generator):
    if not _is_worker_here():
        tell_of_chance({"generator": generator, "by": "reenact"})


def _tell_unused():
    """Say at the end of which generators nothing was drawn: no result depends on what they got."""
    if _state.run_seed is None or _state.forks or _state.depth or _is_worker_here():
        return
    for generator, is_unused in _IS_UNUSED.items():
        if generator not in _state.reseed or generator in _state.by_script:
            continue
        sort = generator.partition(".")[0]
        if not _state.drawn.get(sort) and is_unused(process_seed()):
            tell_of_chance({"generator": generator, "by": "reenact", "unused": True})


def _is_random_unused(seed):
    module = sys.modules["random"]
    return module.Random(seed).getstate() == module.getstate()


def _is_numpy_unused(seed):
    module = sys.modules["numpy.random"]
    states = [
        state.get_state(legacy=False)
        for state in (module.RandomState(seed & 0xFFFFFFFF), module.mtrand._rand)
    ]
    keys = [(state["state"]["key"].tobytes(), state["state"]["pos"]) for state in states]
    return keys[0] == keys[1]


def _is_torch_unused(seed):
    torch = sys.modules["torch"]
    if torch.cuda.is_initialized():
        return False
    generator = torch.Generator()
    generator.manual_seed(seed)
    return torch.equal(torch.get_rng_state(), generator.get_state())


_IS_UNUSED = {
    "random": _is_random_unused,
    "numpy.random": _is_numpy_unused,
    "torch": _is_torch_unused,
}


def _caller(frame):
    """Return the first frame that is not ours."""
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return frame


def _noting(generator):
    """Return a hook for a function whose first argument is a seed."""

    def before(args, kwargs):
        if _state.run_seed is not None:
            value = args[0] if args else next(iter(kwargs.values()), None)
            if value is not None:
                note(generator, value, _caller(sys._getframe(1)))

    return before


# --- generators ---


def _after_random(module):
    kind, shared = module.Random, module._inst
    original = kind.seed

    def seed(self, a=None, version=2):
        if _state.run_seed is not None:
            frame = sys._getframe(1)
            if a is None:
                while frame is not None and frame.f_globals.get("__name__") == "random":
                    frame = frame.f_back
                if frame is None or frame.f_globals.get("__name__") not in _UNTOUCHED:
                    a = draw("random", 128)
            elif self is shared:
                _attempt(note, "random", a, frame)
        try:
            original(self, a, version)
        except BaseException as error:
            from _reenact import wrap

            wrap.leave_traceback(error)
            raise

    seed.__code__ = seed.__code__.replace(co_filename=_UNSEEN)
    for name in ("__module__", "__qualname__", "__doc__"):
        setattr(seed, name, getattr(original, name))
    seed.__wrapped__ = original
    kind.seed = seed
    module.seed = shared.seed

    def reseed():
        if _state.run_seed is not None:
            original(shared, process_seed())

    # Of `random` Python itself begins a fork anew; what is registered later counts.
    os.register_at_fork(after_in_child=lambda: _attempt(reseed))
    _state.reseed["random"] = reseed
    reseed()
    _tell_seeded("random")


def _after_numpy(module):
    from _reenact.wrap import wrap

    entropy = module.bit_generator
    randbits = entropy.randbits
    entropy.randbits = lambda bits: (
        randbits(bits) if _state.run_seed is None else draw("numpy", bits)
    )
    original = wrap(module, "seed", before=_noting("numpy.random"))
    # Where pickle looks for it.
    module.mtrand.seed = module.seed
    wrap(module, "default_rng", before=_noting_entropy)
    module._generator.default_rng = module.default_rng

    def reseed():
        original(process_seed() & 0xFFFFFFFF)

    _state.reseed["numpy.random"] = reseed
    reseed()
    _tell_seeded("numpy.random")


def _noting_entropy(args, kwargs):
    value = args[0] if args else kwargs.get("seed")
    if isinstance(value, (int, list, tuple)) and _state.run_seed is not None:
        note("numpy.random.default_rng", value, _caller(sys._getframe(1)), False)


def _after_torch(module):
    from _reenact.wrap import wrap

    original = wrap(module, "manual_seed", before=_noting("torch"))
    module.random.manual_seed = module.manual_seed

    def by_chance(args, kwargs):
        if _state.run_seed is not None:
            from _reenact import chances

            chances.note("unseeded", "torch.seed", _caller(sys._getframe(1)))

    wrap(module, "seed", before=by_chance)
    module.random.seed = module.seed

    def reseed():
        original(process_seed())

    _state.reseed["torch"] = reseed
    reseed()
    _tell_seeded("torch")


def _after_tensorflow(module):
    from _reenact.wrap import wrap

    original = wrap(module.random, "set_seed", before=_noting("tensorflow"))

    def reseed():
        original(process_seed() & 0x7FFFFFFF)

    _state.reseed["tensorflow"] = reseed
    reseed()
    _tell_seeded("tensorflow")
    _seed_generators(module, sys.modules["tensorflow.python.ops.stateful_random_ops"])


def _seed_generators(tensorflow, module):
    """Give a state to generators that are made with none: the global one, and those made by chance."""
    original = module.non_deterministic_ints

    def non_deterministic_ints(shape, *args, **kwargs):
        chance = original(shape, *args, **kwargs)
        found = []
        if _state.run_seed is not None and chance.shape.is_fully_defined():
            _attempt(lambda: found.append(_drawn_like(tensorflow, chance)))
        return found[0] if found else chance

    module.non_deterministic_ints = non_deterministic_ints


def _drawn_like(tensorflow, chance):
    numbers = [
        draw("tensorflow", 8 * chance.dtype.size - 1) for _ in range(chance.shape.num_elements())
    ]
    return tensorflow.constant(numbers, chance.dtype, chance.shape)


def _after_jax(module):
    from _reenact.wrap import wrap

    for name in ("key", "PRNGKey"):
        if hasattr(module, name):
            wrap(module, name, before=_noting_key)


def _noting_key(args, kwargs):
    value = args[0] if args else kwargs.get("seed")
    # No array: what is on a device, or not computed yet, stays there.
    if isinstance(value, int) and _state.run_seed is not None:
        note("jax", value, _caller(sys._getframe(1)), False)


def _after_uuid(module):
    for name in ("uuid1", "uuid4"):
        setattr(module, name, _seen_uuid("uuid." + name, getattr(module, name)))


def _seen_uuid(what, original):
    """Return a function like one that makes UUIDs, which takes note of who wants them."""

    def make(*args, **kwargs):
        if _state.run_seed is not None:
            _attempt(_note_uuid, what, sys._getframe(1))
        return original(*args, **kwargs)

    make.__code__ = make.__code__.replace(co_filename=_UNSEEN)
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(make, attribute, getattr(original, attribute))
    make.__wrapped__ = original
    return make


def _note_uuid(what, frame):
    from _reenact import chances

    chances.note("uuid", what, frame)


def _after_process(module):
    if not any(mark in word for mark in _WORKER_MARKS for word in _command()):
        return
    original = module.BaseProcess._bootstrap

    def _bootstrap(self, *args, **kwargs):
        _attempt(_begin_worker, self._identity, self.name)
        return original(self, *args, **kwargs)

    module.BaseProcess._bootstrap = _bootstrap


def _attempt(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        try:
            from _reenact import journal

            journal.failure("seeds", error)
        except Exception:
            pass


_AFTER = {
    "random": _after_random,
    "numpy.random": _after_numpy,
    "torch": _after_torch,
    "tensorflow": _after_tensorflow,
    "jax.random": _after_jax,
    "uuid": _after_uuid,
    "multiprocessing.process": _after_process,
}
_seed = os.environ.get("REENACT_SEED", "")
if _seed.isdigit() and "REENACT_RECORD_DIR" in os.environ:
    begin(int(_seed))
    atexit.register(_attempt, _tell_unused)
