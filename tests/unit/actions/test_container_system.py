from __future__ import annotations

from reenact.actions.container.system import lacking_in_slim

SYSTEM = "/usr/lib/x86_64-linux-gnu"


def test_what_every_python_loads_is_in_the_smallest_image() -> None:
    names = """
        ld-linux-x86-64.so.2 libbz2.so.1.0.4 libc.so.6 libcrypto.so.3 libdl.so.2 libffi.so.8.1.2
        libgcc_s.so.1 liblzma.so.5.4.1 libm.so.6 libpthread.so.0 libssl.so.3 libstdc++.so.6.0.30
        libuuid.so.1.3.0 libz.so.1.2.13 libsqlite3.so.0.8.6 libexpat.so.1.8.10 libc-2.31.so
    """.split()

    assert lacking_in_slim(f"{SYSTEM}/{name}" for name in names) == []


def test_what_packages_bring_is_no_library_of_the_system() -> None:
    assert lacking_in_slim(["scikit_learn.libs/libgomp-e985bcbb.so.1.0.0"]) == []
    assert lacking_in_slim(["libpython3.11.so.1.0"]) == []


def test_others_are_lacking() -> None:
    libraries = [f"{SYSTEM}/libgomp.so.1.0.0", f"{SYSTEM}/libGL.so.1", f"{SYSTEM}/libcrypt_x.so"]

    assert lacking_in_slim(libraries) == ["libgomp.so.1.0.0", "libGL.so.1", "libcrypt_x.so"]
