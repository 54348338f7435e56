# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: nonecheck=False, auto_pickle=False
"""Cuts a byte stream into the lines of the protocol; compiled. `_framing_py` defines the correct behaviour.

A secret is decoded directly from the chunk into memory that is locked and wiped (`_core/arena.h`). The base64
kernel is chosen once, at import: the best that this CPU supports, or the one that SSO_BASE64 names.
"""

from os import environ
from sys import intern

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy

from sso._core cimport (
    B64_SLACK,
    LINE_ENDS,
    LINE_HEAD,
    LINE_VERB_SIZE,
    arena_give,
    arena_keep,
    arena_take,
    b64_decode,
    b64_decoder,
    b64_encode,
    b64_find_kernels,
    b64_finish,
    b64_kernel,
    b64_kernels,
    explicit_bzero,
    line,
    line_clear,
    line_head,
    line_plain,
    line_reserve,
    line_starts_secret,
    line_verb_is_secret,
    line_words,
    registers_clear,
)
from sso.errors import FramingError

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, unsigned int highest)
    void *PyUnicode_DATA(object text)

cdef enum:
    LF = 0x0A
    CR = 0x0D
    SPACE = 0x20
    ROUND = 9  # extra bytes after max_secret: a longer secret is noticed, and whole groups fit
    KNOWN = 64  # entries in the table of known words, and in that of known lines

ctypedef const unsigned char *Octets

include "_base64.pxi"


@cython.final
cdef class MessageFramer:
    """Cuts chunks of any size into lines, and lines into tuples of words; decodes a secret while it arrives.

    Between calls it keeps only the line that has not ended. Caps and errors as in the Python twin.
    """

    cdef readonly str error
    cdef Py_ssize_t _max_line, _max_secret
    cdef Py_ssize_t _length  # bytes of the line so far, without a CR that may belong to its end
    cdef Py_ssize_t _skipped  # bytes of the empty lines after the last message of this chunk
    cdef line _line  # in a line with a secret: the text before the secret
    cdef bint _cr, _blob, _octet, _space, _many, _over, _reading
    cdef Block _secret
    cdef b64_decoder _decoder
    cdef size_t _written

    def __init__(self, Py_ssize_t max_line=4096, Py_ssize_t max_secret=65536):
        self._max_line = max_line
        self._max_secret = max(0, min(max_secret, max_line))  # a secret is shorter than its line
        self._skipped = 0
        self.error = ""
        self._reset()

    cdef void _reset(self) noexcept:
        self._length = 0
        self._written = 0
        self._cr = self._blob = self._octet = self._space = self._many = self._over = False
        self._decoder = b64_decoder(0, 0, 0, 0)
        self._line.size = 0
        self._secret = None

    @property
    def unread(self):
        """Bytes after the last message: of a line that has not ended, of empty lines in the last chunk."""
        return self._skipped + self._length + self._cr

    def feed(self, chunk not None):
        """Return the lines that these bytes complete: tuples of words, all str except a decoded secret.

        Empty lines are skipped. A malformed line ends the framer: the lines before it are returned, `error`
        has the reason, and the next call raises FramingError.
        """
        cdef Py_buffer view
        if type(chunk) is bytes:
            return self._feed(<Octets>PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk))
        PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE)
        try:
            return self._feed(<Octets>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef object _feed(self, Octets data, Py_ssize_t size):
        """Not re-entrant: an allocation may run the garbage collector, which may call feed. After an
        exception in the middle the framer refuses further input."""
        found = None
        if self._reading:
            raise RuntimeError("feed is running already")
        if self.error:
            raise FramingError(self.error)
        self._reading = True
        self._skipped = 0
        try:
            found = self._read(data, size)
        finally:
            self._reading = False
            if found is None or self.error:
                self.wipe()
        return found

    cdef object _read(self, Octets data, Py_ssize_t size):
        cdef list found = None
        cdef Py_ssize_t at = 0, count
        cdef size_t head
        while at < size:
            if self._blob and data[at] != LF:
                at += self._read_blob(data + at, size - at)
            elif self._length == 0 and not self._cr and (head := line_head(data + at, <size_t>(size - at))) > 0:
                self._begin_secret(data + at, head)
                at += <Py_ssize_t>head
            elif self._length == 0 and not self._cr and (count := line_plain(data + at, <size_t>(size - at))) > 0:
                found = self._keep(found, self._plain_message(data + at, count))
                at += count + 1
            elif data[at] == LF:
                at += 1
                found = self._keep(found, self._end_of_line())
            else:
                at += self._read_words(data + at, size - at)
            if self._length > self._max_line:
                self.error = "line"
            if self.error:
                break
        return _NOTHING if found is None else found

    cdef list _keep(self, list found, tuple message):
        if message is None:
            return found
        self._skipped = 0
        if found is None:
            return [message]
        found.append(message)
        return found

    cdef tuple _plain_message(self, Octets octets, Py_ssize_t size):
        """Handle a line that is complete in one chunk, without copying it."""
        cdef PyObject *known
        if octets[size - 1] == CR:
            size -= 1
        if size > self._max_line:
            self.error = "line"
            return None
        if size == 0:
            self._skipped += 2
            return None
        known = _look_up(_known_lines, octets, <size_t>size)
        return <tuple>known if known != NULL else self._words(octets, <size_t>size)

    cdef int _begin_secret(self, Octets head, size_t size) except -1:
        """Start a secret: the chunk begins with the complete text before it."""
        self._line.size = 0
        if not line_reserve(&self._line, size):
            raise MemoryError
        memcpy(self._line.data, head, size)
        self._line.size = size
        self._length = <Py_ssize_t>size
        return self._expect_secret()

    cdef int _expect_secret(self) except -1:
        self._blob = self._space = True
        self._secret = _block(self._max_secret + ROUND)
        return 0

    cdef Py_ssize_t _read_words(self, Octets data, Py_ssize_t size) except -1:
        """Copy bytes up to a LF; stop early where a secret begins."""
        cdef const void *found = memchr(data, LF, <size_t>size)
        cdef Py_ssize_t i, taken = 0, count = size if found == NULL else <Octets>found - data
        cdef bint head = self._length < LINE_HEAD
        if head:
            count = min(count, LINE_HEAD - self._length)
        if not line_reserve(&self._line, <size_t>count + 1):
            raise MemoryError
        for i in range(count):
            taken += 1
            self._take_cr()
            if data[i] == CR:
                self._cr = True
                continue
            self._line.data[self._line.size] = data[i]
            self._line.size += 1
            self._length += 1
            if self._length > self._max_line:
                break
            if head and data[i] == SPACE and line_starts_secret(self._line.data, self._line.size):
                self._expect_secret()
                break
        return taken

    cdef void _take_cr(self) noexcept:
        """Count a pending CR as a byte outside the grammar, because no LF follows it."""
        if self._cr:
            self._cr = False
            self._octet = True
            self._length += 1

    cdef Py_ssize_t _read_blob(self, Octets data, Py_ssize_t size) except -1:
        """Decode directly from the chunk; remember bytes that are not base64 until the end of the line."""
        cdef Py_ssize_t taken = 0
        if not self._cr and not self._decoder.pads:
            size = min(size, self._max_line - self._length + 1)
            taken = self._decode(data, size)
            self._length += taken
            if taken:
                self._space = False
        if taken < size and data[taken] != LF:
            self._take_cr()
            if data[taken] == CR:
                self._cr = True
            else:
                self._length += 1
                self._odd(data[taken])
            taken += 1
        return taken

    cdef Py_ssize_t _decode(self, Octets data, Py_ssize_t size) noexcept:
        """Decode up to the first byte outside the alphabet. Past max_secret only validate; the pieces
        overwrite one another."""
        cdef Py_ssize_t taken = 0, piece, count
        while taken < size:
            piece = min(size - taken, (self._max_secret + ROUND - <Py_ssize_t>self._written) // 3 * 4 - 4)
            if piece <= 0:
                self._over = True
                self._written = 0
                continue
            count = <Py_ssize_t>b64_decode(
                _kernel, &self._decoder, data + taken, <size_t>piece, self._secret.data, &self._written
            )
            taken += count
            if count < piece:
                break
        self._secret.touched = self._secret.room if self._over else self._written + B64_SLACK
        return taken

    cdef void _odd(self, unsigned char c) noexcept:
        """Classify a byte in a blob that is outside the alphabet or comes after the padding."""
        if c == SPACE:
            self._octet = self._octet or self._space
            self._many = True
        elif c < 0x21 or c > 0x7E:
            self._octet = True
        elif c == c'=':
            self._decoder.pads += 1
        else:
            self._decoder.bad = True
        self._space = c == SPACE

    cdef tuple _end_of_line(self):
        cdef tuple message = None
        if self._length > self._max_line:
            self.error = "line"
        elif self._length == 0:
            self._skipped += 1 + self._cr
        elif self._octet or self._blob and self._space:
            self.error = "octet"
        elif self._blob:
            message = self._end_of_blob()
        else:
            message = self._words(self._line.data, self._line.size)
        self._reset()
        return message

    cdef tuple _end_of_blob(self):
        cdef Block secret = self._secret
        b64_finish(&self._decoder, secret.data, &self._written)
        if self._many:
            self.error = "credentials"
        elif self._decoder.bad:
            self.error = "base64"
        elif self._over or <Py_ssize_t>self._written > self._max_secret:
            self.error = "secret"
        else:
            secret.size = self._written
            secret.room = arena_keep(secret.data, secret.room, secret.touched)
            type = _word(self._line.data + LINE_VERB_SIZE, self._line.size - 1 - LINE_VERB_SIZE)
            return _CREDENTIALS, type, PyMemoryView_FromObject(secret)
        return None

    cdef tuple _words(self, Octets octets, size_t size):
        """Split a line that is not empty into words. The whole line is checked before the first str is made,
        so that no str holds a secret from a malformed line."""
        cdef uint32_t ends[LINE_ENDS]
        cdef size_t i, end, begin = 0, count = line_words(octets, size, ends)
        if count == 0 or line_verb_is_secret(octets, size):
            self.error = "credentials" if count else "octet"
            return None
        cdef tuple words = PyTuple_New(<Py_ssize_t>count)
        for i in range(count):
            end = ends[i] if i < LINE_ENDS else _next_space(octets, begin, size)
            word = _word(octets + begin, end - begin)
            Py_INCREF(word)
            PyTuple_SET_ITEM(words, <Py_ssize_t>i, word)
            begin = end + 1
        return words

    def wipe(self):
        """Wipe all contents; later calls of feed raise FramingError."""
        self.error = self.error or "octet"
        if self._reading:  # feed is still running; it wipes when it ends
            return
        self._reset()
        line_clear(&self._line)
        self._skipped = 0

    def __dealloc__(self):
        line_clear(&self._line)


cdef size_t _next_space(Octets octets, size_t at, size_t size) noexcept:
    while at < size and octets[at] != SPACE:
        at += 1
    return at


cdef struct Known:
    PyObject *meaning
    Octets octets
    size_t size


cdef Known _known_words[KNOWN]
cdef Known _known_lines[KNOWN]
cdef list _kept = []  # owns the objects that the tables point to


cdef inline Known *_place(Known *table, Octets octets, size_t size) noexcept:
    return &table[(octets[0] + octets[size - 1] * 3u + size) % KNOWN]


cdef inline PyObject *_look_up(Known *table, Octets octets, size_t size) noexcept:
    cdef Known *known = _place(table, octets, size)
    if known.size == size and memcmp(known.octets, octets, size) == 0:
        return known.meaning
    return NULL


cdef inline object _word(Octets octets, size_t size):
    """Return a word as str; the protocol's own words are made once and shared."""
    cdef PyObject *known = _look_up(_known_words, octets, size)
    if known != NULL:
        return <object>known
    word = PyUnicode_New(<Py_ssize_t>size, 0x7F)
    memcpy(PyUnicode_DATA(word), octets, size)
    return word


cdef int _know(Known *table, str text, object meaning) except -1:
    cdef bytes octets = text.encode()
    cdef Octets data = <Octets>PyBytes_AS_STRING(octets)
    if _place(table, data, len(octets)).size:
        raise AssertionError(f"two known texts at one place: {text}")
    _kept.append((octets, meaning))
    _place(table, data, len(octets))[0] = Known(<PyObject *>meaning, data, len(octets))
    return 0


# The most frequent lines, and the words of the other lines.
for _text in ("ok", "error 300 delay", "startTLS", "startSASL GSSAPI", "authenticate kerberos",
              "authenticate password", "authenticate kerberos password", "info spn"):
    _know(_known_lines, _text, tuple([intern(each) for each in _text.split()]))
for _text in ("ok", "error", "info", "authenticate", "startTLS", "startSASL", "SIGNATURE", "kerberos", "password",
              "GSSAPI", "client", "guest"):
    _know(_known_words, _text, intern(_text))

cdef tuple _NOTHING = ()
cdef str _CREDENTIALS = "credentials"
