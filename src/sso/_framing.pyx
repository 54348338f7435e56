# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: nonecheck=False, auto_pickle=False
"""Lines of the protocol out of octets, compiled; `_framing_py` says what is right."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memchr, memcmp, memcpy

from sso._base64 cimport Decoder, decode, encode, explicit_bzero, finish
from sso.errors import FramingError

cdef extern from "Python.h":
    object PyUnicode_DecodeASCII(const char *data, Py_ssize_t size, const char *errors)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    void *PyUnicode_DATA(object text)

cdef enum:
    LF = 0x0A
    CR = 0x0D
    SPACE = 0x20
    HEAD = 45  # octets of "credentials ", a type of 32 and a space
    VERB_SIZE = 12
    SHARED = 64  # places for shared words

cdef const char *VERB = b"credentials "


def b64encode(const unsigned char[::1] data not None):
    """Canonical base64 (RFC 4648 section 4) of any octets."""
    cdef Py_ssize_t size = data.shape[0]
    cdef bytes result = PyBytes_FromStringAndSize(NULL, (size + 2) // 3 * 4)
    if size:
        encode(&data[0], size, <unsigned char *>PyBytes_AS_STRING(result))
    return result


def b64decode(const unsigned char[::1] data not None, Py_ssize_t max_length=65536):
    """Decode canonical base64 into a buffer that the caller wipes; errors as in the Python twin."""
    cdef Py_ssize_t size = data.shape[0], taken = 0, written = 0, room = size // 4 * 3
    cdef Decoder d = Decoder(0, 0, 0, False)
    while d.pads < 2 and d.pads < size and data[size - 1 - d.pads] == c'=':
        d.pads += 1
    room = max(room - d.pads, 0)
    cdef bytearray out = PyByteArray_FromStringAndSize(NULL, room)
    cdef unsigned char *raw = <unsigned char *>PyByteArray_AS_STRING(out)
    if size:
        taken = decode(&d, &data[0], size - d.pads, raw, room, &written)
        finish(&d, raw, room, &written)
    if d.bad or taken + d.pads != size or written > max_length:
        explicit_bzero(raw, <size_t>room)
        raise FramingError("secret" if not d.bad and taken + d.pads == size else "base64")
    return out


def wipe(unsigned char[::1] buffer not None):
    """Overwrite a writable buffer with zeros."""
    if buffer.shape[0]:
        explicit_bzero(&buffer[0], <size_t>buffer.shape[0])


cdef class _Buffer:
    """Memory that is wiped before it is given back: a bytearray that grows may leave a copy behind."""

    cdef unsigned char *data
    cdef Py_ssize_t size, room

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef unsigned char *larger
        cdef Py_ssize_t room
        if self.size + more <= self.room:
            return 0
        room = max(256, self.size + more, 2 * self.room)
        larger = <unsigned char *>PyMem_Malloc(<size_t>room)
        if larger == NULL:
            raise MemoryError
        if self.data != NULL:
            memcpy(larger, self.data, <size_t>self.size)
            explicit_bzero(self.data, <size_t>self.room)
            PyMem_Free(self.data)
        self.data = larger
        self.room = room
        return 0

    cdef void clear(self) noexcept:
        if self.data != NULL:
            explicit_bzero(self.data, <size_t>self.room)
            PyMem_Free(self.data)
        self.data = NULL
        self.size = self.room = 0

    def __dealloc__(self):
        self.clear()


cdef class MessageFramer:
    """Whole lines as tuples of words, out of chunks of any size; a secret is decoded as it arrives.

    `feed` reads its chunk at once, so that nothing of it is kept but the words and the secret.
    """

    cdef Py_ssize_t _max_line, _max_secret
    cdef Py_ssize_t _fed, _returned  # octets: fed in all; up to the end of the last returned message
    cdef list _ready  # a message, the octets fed up to its end, the next message, ...
    cdef Py_ssize_t _next  # where in `_ready` the next message is
    cdef _Buffer _line, _secret
    cdef Py_ssize_t _length  # octets of the line so far, without a CR that may end it
    cdef bint _cr, _blob, _octet, _space, _many
    cdef Decoder _decoder
    cdef Py_ssize_t _written
    cdef str _error, _failed  # what will be raised behind the ready messages; what was raised

    def __init__(self, Py_ssize_t max_line=4096, Py_ssize_t max_secret=65536):
        self._max_line = max_line
        self._max_secret = max_secret
        self._fed = self._returned = self._next = 0
        self._ready = []
        self._line = _Buffer()
        self._secret = _Buffer()
        self._error = self._failed = ""
        self._reset()

    cdef void _reset(self) noexcept:
        self._length = self._written = 0
        self._cr = self._blob = self._octet = self._space = self._many = False
        self._decoder = Decoder(0, 0, 0, False)
        self._line.size = 0

    @property
    def unread(self):
        """Octets that were fed and not yet returned as a message."""
        return self._fed - self._returned

    def feed(self, chunk not None):
        """Take received octets; FramingError when the framer has failed before."""
        cdef Py_buffer view
        if self._failed:
            raise FramingError(self._failed)
        PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE)
        try:
            if not self._error:
                self._read(<const unsigned char *>view.buf, view.len)
        except FramingError as error:
            self._error = error.reason
        finally:
            self._fed += view.len
            PyBuffer_Release(&view)

    def next_message(self):
        """The next line as its words, all str but the decoded secret; None when none is complete.

        Empty lines are skipped. After a FramingError the framer is dead and raises it again.
        """
        cdef object message
        if self._failed:
            raise FramingError(self._failed)
        if self._next < len(self._ready):
            message = self._ready[self._next]
            self._returned = self._ready[self._next + 1]
            self._ready[self._next] = None
            self._next += 2
            if self._next == len(self._ready):
                self._ready.clear()
                self._next = 0
            return message
        if self._error:
            self.wipe()
            self._failed = self._error
            raise FramingError(self._failed)
        self._returned = self._fed - self._length - self._cr
        return None

    cdef int _read(self, const unsigned char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t at = 0, count
        while at < size:
            if data[at] == LF:
                at += 1
                self._keep(self._end_of_line(), at)
            elif self._blob:
                at += self._read_blob(data + at, size - at)
            else:
                count = -1 if self._length or self._cr else _plain_line(data + at, size - at)
                if count < 0:
                    at += self._read_words(data + at, size - at)
                else:
                    self._keep(self._whole_line(data + at, count), at + count + 1)
                    at += count + 1
            if self._length > self._max_line:
                raise FramingError("line")
        return 0

    cdef int _keep(self, object message, Py_ssize_t at) except -1:
        if message is not None:
            self._ready.append(message)
            self._ready.append(self._fed + at)
        return 0

    cdef object _whole_line(self, const unsigned char *line, Py_ssize_t size):
        """The short way: a line whose octets all lie in one chunk is never copied."""
        if line[size - 1] == CR:
            size -= 1
        if size > self._max_line:
            raise FramingError("line")
        return _words(line, size) if size else None

    cdef Py_ssize_t _read_words(self, const unsigned char *data, Py_ssize_t size) except -1:
        """Collect octets up to a LF; stop early where a secret begins."""
        cdef const void *found = memchr(data, LF, <size_t>size)
        cdef Py_ssize_t count = size if found == NULL else <const unsigned char *>found - data
        if self._length < HEAD:
            count = min(count, HEAD - self._length)
        cdef Py_ssize_t i, taken = 0
        cdef bint head = self._length < HEAD
        self._line.reserve(count + 1)
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
            if head and data[i] == SPACE and self._line.size > VERB_SIZE and self._starts_secret():
                self._blob = True
                self._space = True
                self._secret.size = 0
                break
        return taken

    cdef void _take_cr(self) noexcept:
        """A CR that was not the end of a line is an octet outside the grammar."""
        if self._cr:
            self._cr = False
            self._octet = True
            self._length += 1

    cdef bint _starts_secret(self) noexcept:
        cdef Py_ssize_t i
        if memcmp(self._line.data, VERB, <size_t>VERB_SIZE) != 0:
            return False
        for i in range(VERB_SIZE, self._line.size - 1):
            if not _is_type(self._line.data[i]):
                return False
        return VERB_SIZE < self._line.size - 1 <= VERB_SIZE + 32

    cdef Py_ssize_t _read_blob(self, const unsigned char *data, Py_ssize_t size) except -1:
        """Decode straight out of the chunk; what is no base64 is remembered and judged at the line's end."""
        cdef Py_ssize_t taken = 0
        cdef unsigned char c
        if not self._cr and not self._decoder.pads:
            size = min(size, self._max_line - self._length + 1)
            self._secret.size = min(self._written, self._max_secret)
            self._secret.reserve(min(size // 4 * 3 + 6, self._max_secret - self._secret.size) + 4)
            taken = decode(&self._decoder, data, size, self._secret.data, self._secret.room, &self._written)
            self._length += taken
            if taken:
                self._space = False
        if taken < size and data[taken] != LF:
            c = data[taken]
            taken += 1
            self._take_cr()
            if c == CR:
                self._cr = True
                return taken
            self._length += 1
            self._odd(c)
        return taken

    cdef void _odd(self, unsigned char c) noexcept:
        """An octet inside a blob that is not of the alphabet, or one behind the padding."""
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

    cdef object _end_of_line(self):
        cdef object message
        self._cr = False
        if self._length > self._max_line:
            raise FramingError("line")
        if self._length == 0:
            self._reset()
            return None
        message = self._end_of_blob() if self._blob else self._end_of_words()
        self._reset()
        return message

    cdef object _end_of_blob(self):
        if self._octet or self._space:
            raise FramingError("octet")
        if self._many:
            raise FramingError("credentials")
        self._secret.reserve(4)
        finish(&self._decoder, self._secret.data, self._secret.room, &self._written)
        if self._decoder.bad:
            raise FramingError("base64")
        if self._written > self._max_secret:
            raise FramingError("secret")
        type = _word(self._line.data + VERB_SIZE, self._line.size - 1 - VERB_SIZE)
        secret = PyByteArray_FromStringAndSize(<char *>self._secret.data, self._written)
        self._secret.clear()
        return "credentials", type, secret

    cdef object _end_of_words(self):
        if self._octet:
            raise FramingError("octet")
        return _words(self._line.data, self._line.size)

    def wipe(self):
        """Wipe all that is inside; the framer is dead afterwards."""
        for message in self._ready[self._next::2]:
            if message[0] == "credentials":
                wipe(message[2])
        self._ready.clear()
        self._next = 0
        self._line.clear()
        self._secret.clear()
        self._returned = self._fed
        self._failed = self._failed or "octet"
        self._reset()


cdef Py_ssize_t _plain_line(const unsigned char *data, Py_ssize_t size) noexcept:
    """How many octets stand before the LF; -1 if it has not come, or if the line may hold a secret."""
    cdef const void *end
    if size >= VERB_SIZE and data[0] == c'c' and memcmp(data, VERB, VERB_SIZE) == 0:
        return -1
    end = memchr(data, LF, <size_t>size)
    return -1 if end == NULL else <const unsigned char *>end - data


cdef tuple _words(const unsigned char *line, Py_ssize_t size):
    """The words of a line that is not empty. All is judged before the first str is made: a secret in a
    malformed line gets into none."""
    cdef Py_ssize_t i, begin, verb = 0, count = 1
    while verb < size and _is_verb(line[verb]):
        verb += 1
    if not 1 <= verb <= 32 or (verb < size and line[verb] != SPACE) or line[size - 1] == SPACE:
        raise FramingError("octet")
    for i in range(verb, size):
        if not SPACE <= line[i] <= 0x7E or (line[i] == SPACE and line[i + 1] == SPACE):
            raise FramingError("octet")
        count += line[i] == SPACE
    if verb == VERB_SIZE - 1 and memcmp(line, VERB, VERB_SIZE - 1) == 0:
        raise FramingError("credentials")
    cdef tuple words = PyTuple_New(count)
    begin = count = 0
    for i in range(verb, size + 1):
        if i == size or line[i] == SPACE:
            word = _word(line + begin, i - begin)
            Py_INCREF(word)
            PyTuple_SET_ITEM(words, count, word)
            count += 1
            begin = i + 1
    return words


cdef inline int _place(const unsigned char *word, Py_ssize_t size) noexcept:
    return <int>((word[0] * 5 + word[size - 1] * 3 + size) % SHARED)


cdef object _word(const unsigned char *word, Py_ssize_t size):
    """A word as str; those of the protocol itself are made once and shared."""
    cdef object shared = _shared[_place(word, size)]
    if PyUnicode_GET_LENGTH(shared) == size and memcmp(PyUnicode_DATA(shared), word, <size_t>size) == 0:
        return shared
    return PyUnicode_DecodeASCII(<const char *>word, size, NULL)


cdef list _share(str words):
    cdef list shared = [""] * SHARED
    for word in words.encode().split():
        shared[_place(word, len(word))] = word.decode()
    return shared


cdef list _shared = _share(
    "ok error info authenticate credentials startTLS startSASL SIGNATURE kerberos password GSSAPI client guest"
)


cdef inline bint _is_type(unsigned char c) noexcept:
    return c'a' <= c <= c'z' or c'0' <= c <= c'9' or c == c'-'


cdef inline bint _is_verb(unsigned char c) noexcept:
    return _is_type(c) or c'A' <= c <= c'Z'
