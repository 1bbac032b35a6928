"""Objects in a bucket of S3-compatible storage (Amazon, MinIO, Ceph). The `minio` library is used here alone."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from core.errors import NotFound, Unavailable
from core.objects.store import Full, checked

_ABSENT: Final = frozenset({"NoSuchKey", "NoSuchObject"})
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"})
_STRANGER: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})

_PART: Final = 16 << 20
"""Bytes of a part when nobody knows how many there will be: 10,000 parts are 156 GiB."""

_PIECE: Final = 1 << 20
_CONNECT: Final = 10.0
_ANSWER: Final = 60.0
"""Seconds for a connection, and for an answer on it."""


class S3Objects:
    """ObjectStore in a bucket, under a prefix if one is given. The bucket must exist."""

    def __init__(
        self, *, endpoint: str, bucket: str, access_key: str, secret_key: str, region: str = "", prefix: str = ""
    ) -> None:
        """`endpoint` is http://HOST[:PORT] or https://…"""
        scheme, _, host = endpoint.partition("://")
        retry = urllib3.Retry(total=4, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
        self._client = Minio(
            host.rstrip("/"),
            access_key=access_key,
            secret_key=secret_key,
            secure=scheme == "https",
            region=region or "us-east-1",  # named, so that nobody is asked for it
            http_client=urllib3.PoolManager(
                maxsize=16,
                timeout=urllib3.Timeout(connect=_CONNECT, read=_ANSWER),
                retries=retry,
                cert_reqs="CERT_REQUIRED",
            ),
        )
        self._endpoint = endpoint
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def __str__(self) -> str:
        return f"bucket {self._bucket} at {self._endpoint}"

    def put(self, name: str, source: bytes | BinaryIO, *, size: int | None = None) -> int:
        key = self._key(name)
        counted = _Counted(io.BytesIO(source) if isinstance(source, bytes) else source)
        length = len(source) if isinstance(source, bytes) else -1 if size is None else size
        with self._told(name):
            self._client.put_object(
                self._bucket, key, cast("BinaryIO", counted), length, part_size=_PART if length < 0 else 0
            )
        return counted.count

    @contextlib.contextmanager
    def get(self, name: str, *, offset: int = 0) -> Iterator[BinaryIO]:
        key = self._key(name)
        with self._told(name):
            if offset and offset >= (self._client.stat_object(self._bucket, key).size or 0):
                yield io.BytesIO()  # a range that begins at the end is an error to S3
                return
            response = self._client.get_object(self._bucket, key, offset=offset)
            try:
                yield cast("BinaryIO", response)
            finally:
                response.close()
                response.release_conn()

    def read(self, name: str) -> bytes:
        with self.get(name) as file:
            return b"".join(iter(lambda: file.read(_PIECE), b""))

    def list(self, prefix: str = "") -> Iterator[str]:
        with self._told(prefix):
            for found in self._client.list_objects(self._bucket, prefix=self._prefix + prefix, recursive=True):
                if found.object_name is not None:
                    yield found.object_name.removeprefix(self._prefix)

    def delete(self, name: str) -> None:
        key = self._key(name)
        with contextlib.suppress(NotFound), self._told(name):
            self._client.remove_object(self._bucket, key)

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except NotFound:
            return False
        return True

    def size(self, name: str) -> int:
        key = self._key(name)
        with self._told(name):
            return self._client.stat_object(self._bucket, key).size or 0

    def tidy(self) -> None:
        """A bucket drops interrupted uploads by its own lifecycle rule (AbortIncompleteMultipartUpload)."""

    def _key(self, name: str) -> str:
        return self._prefix + checked(name)

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """The library's errors in the words of the contract."""
        try:
            yield
        except S3Error as bad:
            if bad.code in _ABSENT:
                raise NotFound(f"{self} has no {name}") from bad
            if bad.code in _FULL:
                raise Full(f"{self} is full", hint="Raise its quota, or delete old backups or images.") from bad
            if bad.code == "NoSuchBucket":
                raise Unavailable(f"there is no {self}", hint="Make the bucket, or correct its name.") from bad
            if bad.code in _STRANGER:
                raise Unavailable(
                    f"{self} does not let us in: {bad.code}", hint="Check the keys in secret_file."
                ) from bad
            raise Unavailable(f"{self} says {bad.code}: {bad.message}", hint="Look at the storage.") from bad
        except (MinioException, urllib3.exceptions.HTTPError) as bad:
            raise Unavailable(f"{self} cannot be reached: {bad}", hint="Check the endpoint and the network.") from bad


class _Counted:
    """A file that counts what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self.count += len(data)
        return data
