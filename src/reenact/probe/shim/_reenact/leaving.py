"""What a process tells at its end: native libraries that it has loaded, and the threads they use.

It is loaded at the end of a process that has imported something that computes, and only there; all
others pay a look at `sys.modules`. Nothing is imported or loaded for it but `ctypes`, and libraries
are asked only if they are there already.

Covered: OpenBLAS in its many spellings, MKL, BLIS, OpenMP of GNU, Intel and LLVM, the threads of
torch, TensorFlow, XLA and numexpr; torch, NumPy, TensorFlow and JAX on what they were built with.
Not covered: a BLAS inside another library that shows none of its functions (torch's own MKL: torch
itself tells of it); a process that ends without leaving Python (`kill -9`, `os._exit`, `exec`).
"""

import os
import sys

from _reenact import journal

COMPUTES = ("numpy", "torch", "tensorflow", "jaxlib", "cupy", "numexpr", "polars", "xgboost")
"""With one of these a process has something to tell."""

_VARIABLES = (
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "GOTO_",
    "BLIS_",
    "VECLIB_",
    "NUMEXPR_",
    "POLARS_",
    "RAYON_",
    "TBB_",
    "CUDA_",
    "CUBLAS_",
    "NVIDIA_TF32",
    "ONEDNN_",
    "ATEN_",
    "PYTORCH_",
    "TORCH_",
    "TF_",
    "XLA_",
    "JAX_",
    "NPY_",
)
_OTHERS = ("TF_CLI_", "TF_VAR_", "TF_TOKEN_")
_OPENBLAS_SPELLINGS = (
    ("", ""),
    ("", "64_"),
    ("", "_64"),
    ("", "64"),
    ("scipy_", ""),
    ("scipy_", "64_"),
)
_INTEL_THREADS = {-1: None, 0: "intel", 1: "none", 3: "gnu", 4: "tbb"}
_JAX_SETTINGS = (
    "default_matmul_precision",
    "default_prng_impl",
    "enable_x64",
    "threefry_partitionable",
)
"""What decides of a script's numbers beside its keys."""
_is_told = []


def install():
    """Tell at the end of this process. Calling it twice is calling it once."""
    if not _is_told:
        import atexit

        _is_told.append(False)
        atexit.register(tell)


def tell():
    """Tell now, once, if there is anything to tell and nobody else to tell it."""
    if _is_told and _is_told[-1]:
        return
    _is_told.append(True)
    try:
        if journal.record_directory() is None or journal.is_worker():
            return
        found = describe()
        if found is not None:
            journal.event("runtime", **found)
    except Exception as error:
        journal.failure("the end of the process", error)


def describe():
    """Return what this process has loaded; None where it has nothing that computes."""
    if not any(name in sys.modules for name in COMPUTES):
        return None
    libraries = _libraries()
    return {
        "libraries": libraries,
        "pools": _pools(libraries),
        "frameworks": _frameworks(),
        "variables": _variables(),
    }


def _libraries():
    """Return the paths of libraries that are loaded."""
    found = set()
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            at = line.find(b"/")
            if at > 0 and b".so" in line[at:]:
                path = os.fsdecode(line[at:-1])
                if path.endswith(".so") or ".so." in path:
                    found.add(path)
    return sorted(found)


def _variables():
    names = [n for n in os.environ if n.startswith(_VARIABLES) and not n.startswith(_OTHERS)]
    return {name: os.environ[name] for name in sorted(names)}


# --- thread pools ---


def _pools(libraries):
    pools = []
    for path in libraries:
        name = os.path.basename(path)
        ask = _asker(name)
        if ask is None:
            continue
        try:
            pool = ask(_open(path), name)
        except Exception as error:
            journal.failure("threads of " + name, error)
            continue
        if pool is not None:
            pool["library"] = path
            pools.append(pool)
    torch = sys.modules.get("torch")
    if hasattr(torch, "get_num_threads"):
        pools.append({"api": "torch", "threads": torch.get_num_threads()})
    tensorflow = sys.modules.get("tensorflow.python.eager.context")
    if tensorflow is not None:
        context = getattr(tensorflow, "_context", None)
        # Not by asking: the answer would look for GPUs where the script did not.
        threads = getattr(context, "_intra_op_parallelism_threads", None)
        threads = threads or _said_or_cpus("TF_NUM_INTRAOP_THREADS")
        pools.append({"api": "tensorflow", "threads": threads})
    if "jaxlib" in sys.modules:
        pools.append({"api": "xla", "threads": _said_or_cpus("NPROC")})
    numexpr = sys.modules.get("numexpr")
    if hasattr(numexpr, "get_num_threads"):
        pools.append({"api": "numexpr", "threads": numexpr.get_num_threads()})
    return pools


def _said_or_cpus(variable):
    """Return the number of threads of which a variable decides, else of CPUs."""
    said = os.environ.get(variable, "")
    return int(said) if said.isdigit() and int(said) else len(os.sched_getaffinity(0))


def _asker(name):
    for marks, ask in _ASKERS:
        if any(mark in name for mark in marks):
            return ask
    return None


def _open(path):
    import ctypes

    # Only what is loaded already: nothing is loaded for the sake of asking it.
    return ctypes.CDLL(path, mode=getattr(os, "RTLD_NOLOAD", 4) | os.RTLD_NOW)


def _function(library, names, result=None, arguments=()):
    """Return the first of some functions that a library has, or None."""
    import ctypes

    for name in names:
        function = getattr(library, name, None)
        if function is not None:
            function.restype = ctypes.c_int if result is None else result
            function.argtypes = list(arguments)
            return function
    return None


def _openblas(library, name):
    import ctypes

    def spelled(question):
        return ["%s%s%s" % (head, question, tail) for head, tail in _OPENBLAS_SPELLINGS]

    threads = _function(library, spelled("openblas_get_num_threads"))
    if threads is None:
        return None
    pool = {"api": "openblas", "threads": threads()}
    config = _function(library, spelled("openblas_get_config"), ctypes.c_char_p)
    if config is not None:
        words = (config() or b"").decode("ascii", "replace").split()
        if len(words) > 1 and words[0] == "OpenBLAS":
            pool["version"] = words[1]
        pool["interface"] = "ilp64" if "USE64BITINT" in words else "lp64"
    core = _function(library, spelled("openblas_get_corename"), ctypes.c_char_p)
    if core is not None:
        pool["architecture"] = (core() or b"").decode("ascii", "replace") or None
    kind = _function(library, spelled("openblas_get_parallel"))
    if kind is not None:
        pool["threading"] = {0: "none", 1: "pthreads", 2: "openmp"}.get(kind())
    return pool


def _mkl(library, name):
    import ctypes

    threads = _function(library, ("MKL_Get_Max_Threads", "mkl_get_max_threads"))
    if threads is None:
        return None
    pool = {"api": "mkl", "threads": threads()}
    version = _function(library, ("mkl_get_version_string",), None, (ctypes.c_char_p, ctypes.c_int))
    if version is not None:
        buffer = ctypes.create_string_buffer(200)
        version(buffer, 200)
        pool["version"] = " ".join(buffer.value.decode("ascii", "replace").split())
    layer = _function(library, ("MKL_Set_Threading_Layer",), None, (ctypes.c_int,))
    if layer is not None:
        # -1 changes nothing and returns the layer in force.
        pool["threading"] = _INTEL_THREADS.get(layer(-1))
    return pool


def _blis(library, name):
    import ctypes

    threads = _function(library, ("bli_thread_get_num_threads",))
    if threads is None:
        return None
    pool = {"api": "blis", "threads": threads()}
    version = _function(library, ("bli_info_get_version_str",), ctypes.c_char_p)
    if version is not None:
        pool["version"] = (version() or b"").decode("ascii", "replace") or None
    chosen = _function(library, ("bli_arch_query_id",))
    named = _function(library, ("bli_arch_string",), ctypes.c_char_p, (ctypes.c_int,))
    if chosen is not None and named is not None:
        pool["architecture"] = (named(chosen()) or b"").decode("ascii", "replace") or None
    return pool


def _openmp(library, name):
    threads = _function(library, ("omp_get_max_threads",))
    if threads is None:
        return None
    threading = "gnu" if "gomp" in name else "intel" if "iomp" in name else "llvm"
    return {"api": "openmp", "threads": threads(), "threading": threading}


_ASKERS = (
    (("openblas", "libblas", "libcblas"), _openblas),
    (("libmkl_rt",), _mkl),
    (("libblis",), _blis),
    (("libgomp", "libiomp", "libomp"), _openmp),
)


# --- frameworks ---


def _frameworks():
    found = {}
    for name, ask in (
        ("numpy", _numpy),
        ("torch", _torch),
        ("tensorflow", _tensorflow),
        ("jaxlib", _jaxlib),
        ("cupy", _cupy),
    ):
        module = sys.modules.get(name)
        if module is None:
            continue
        try:
            facts = ask(module)
            found[name] = {key: value for key, value in facts.items() if value is not None}
        except Exception as error:
            journal.failure("facts of " + name, error)
    return found


def _numpy(numpy):
    inner = sys.modules.get("numpy._core._multiarray_umath") or sys.modules.get(
        "numpy.core._multiarray_umath"
    )
    features = getattr(inner, "__cpu_features__", None)
    simd = None
    if isinstance(features, dict):
        simd = sorted(name for name, is_there in features.items() if is_there)
    return {"version": numpy.__version__, "simd": simd}


def _torch(torch):
    version = torch.version
    facts = {
        "version": str(torch.__version__),
        "git": getattr(version, "git_version", None),
        "cuda": getattr(version, "cuda", None),
        "hip": getattr(version, "hip", None),
    }
    backends = torch.backends
    if facts["cuda"] is not None or facts["hip"] is not None:
        # Only reads what the library says of itself: no GPU is touched.
        facts["cudnn"] = _call(backends.cudnn, "version")
        facts["cudnn_benchmark"] = getattr(backends.cudnn, "benchmark", None)
        facts["cudnn_deterministic"] = getattr(backends.cudnn, "deterministic", None)
        facts["uses_gpu"] = _call(torch.cuda, "is_initialized")
    facts["cpu_capability"] = _call(getattr(backends, "cpu", None), "get_cpu_capability")
    facts["mkl"] = _call(getattr(backends, "mkl", None), "is_available")
    facts["mkldnn"] = _call(getattr(backends, "mkldnn", None), "is_available")
    facts["interop_threads"] = _call(torch, "get_num_interop_threads")
    facts["deterministic_algorithms"] = _call(torch, "are_deterministic_algorithms_enabled")
    facts["float32_matmul_precision"] = _call(torch, "get_float32_matmul_precision")
    return facts


def _tensorflow(tensorflow):
    facts = {"version": getattr(tensorflow, "__version__", None)}
    build = _call(getattr(tensorflow, "sysconfig", None), "get_build_info") or {}
    facts["cuda"] = build.get("cuda_version")
    facts["cudnn"] = build.get("cudnn_version")
    config = sys.modules.get("tensorflow.python.framework.config")
    facts["op_determinism"] = _call(config, "is_op_determinism_enabled")
    return facts


def _jaxlib(jaxlib):
    jax = sys.modules.get("jax")
    facts = {
        "version": getattr(jaxlib, "__version__", None),
        "jax": getattr(jax, "__version__", None),
    }
    config = getattr(jax, "config", None)
    for name in _JAX_SETTINGS:
        facts[name] = getattr(config, "jax_" + name, None)
    return facts


def _cupy(cupy):
    runtime = cupy.cuda.runtime
    return {"version": cupy.__version__, "cuda": runtime.runtimeGetVersion()}


def _call(owner, name):
    """Ask what a version of a framework may not know; None then."""
    question = getattr(owner, name, None)
    if question is None:
        return None
    try:
        return question()
    except Exception:
        return None
