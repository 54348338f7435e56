# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Lines of the protocol out of octets, compiled; `_framing_py` says what is right."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from sso._base64 cimport Decoder, character, decode, explicit_bzero, finish
from sso.errors import FramingError

cdef enum:
    LF = 0x0A
    CR = 0x0D
    SPACE = 0x20
    HEAD = 45  # octets of "credentials ", a type of 32 and a space

cdef const char *VERB = b"credentials "
cdef Py_ssize_t VERB_SIZE = 12


def b64encode(const unsigned char[::1] data not None):
    """Canonical base64 (RFC 4648 section 4) of any octets."""
    cdef Py_ssize_t size = data.shape[0], i = 0, o = 0
    cdef bytes result = PyBytes_FromStringAndSize(NULL, (size + 2) // 3 * 4)
    cdef unsigned char *out = <unsigned char *>PyBytes_AS_STRING(result)
    cdef unsigned int bits
    while i < size:
        bits = <unsigned int>data[i] << 16
        if i + 1 < size:
            bits |= <unsigned int>data[i + 1] << 8
        if i + 2 < size:
            bits |= data[i + 2]
        out[o] = character(<int>((bits >> 18) & 63))
        out[o + 1] = character(<int>((bits >> 12) & 63))
        out[o + 2] = character(<int>((bits >> 6) & 63)) if i + 1 < size else c'='
        out[o + 3] = character(<int>(bits & 63)) if i + 2 < size else c'='
        i += 3
        o += 4
    return result


def b64decode(const unsigned char[::1] data not None, Py_ssize_t max_length=65536):
    """Decode canonical base64 into a buffer that the caller wipes; errors as in the Python twin."""
    cdef Py_ssize_t size = data.shape[0], taken, written = 0
    cdef Py_ssize_t room = size // 4 * 3
    cdef Decoder d = Decoder(0, 0, 0, False)
    cdef bytearray out = bytearray(room)
    cdef unsigned char *raw = <unsigned char *>PyByteArray_AS_STRING(out)
    if size:
        taken = decode(&d, &data[0], size, raw, room, &written)
        while taken < size and data[taken] == c'=':
            taken += 1
            d.pads += 1
        finish(&d, raw, room, &written)
        if taken != size:
            d.bad = True
    if d.bad or written > max_length:
        wipe(out)
        raise FramingError("base64" if d.bad else "secret")
    return _exact(raw, written, out)


cdef bytearray _exact(unsigned char *raw, Py_ssize_t size, bytearray whole):
    """A buffer of just that size: shrinking the large one could move it and leave a copy behind."""
    if whole is not None and len(whole) == size:
        return whole
    cdef bytearray secret = bytearray(size)
    memcpy(PyByteArray_AS_STRING(secret), raw, <size_t>size)
    if whole is not None:
        wipe(whole)
    return secret


def wipe(unsigned char[::1] buffer not None):
    """Overwrite a writable buffer with zeros."""
    if buffer.shape[0]:
        explicit_bzero(&buffer[0], <size_t>buffer.shape[0])


cdef class _Buffer:
    """Octets in memory of our own, which is wiped before it is given back."""

    cdef unsigned char *data
    cdef Py_ssize_t size, room

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef unsigned char *larger
        cdef Py_ssize_t room
        if self.size + more <= self.room:
            return 0
        room = max(256, 2 * (self.size + more))
        larger = <unsigned char *>malloc(<size_t>room)
        if larger == NULL:
            raise MemoryError
        if self.data != NULL:
            memcpy(larger, self.data, <size_t>self.size)
            explicit_bzero(self.data, <size_t>self.room)
            free(self.data)
        self.data = larger
        self.room = room
        return 0

    cdef void clear(self) noexcept:
        if self.data != NULL:
            explicit_bzero(self.data, <size_t>self.room)
            free(self.data)
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
    cdef list _ready  # (message, octets fed up to its end)
    cdef _Buffer _line, _secret
    cdef Py_ssize_t _length  # octets of the line so far, without a CR that may end it
    cdef bint _cr, _blob, _octet, _space, _many
    cdef Decoder _decoder
    cdef Py_ssize_t _written
    cdef str _error, _failed  # what will be raised behind the ready messages; what was raised

    def __init__(self, Py_ssize_t max_line=4096, Py_ssize_t max_secret=65536):
        self._max_line = max_line
        self._max_secret = max_secret
        self._fed = self._returned = 0
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

    def feed(self, const unsigned char[::1] chunk not None):
        """Take received octets; FramingError when the framer has failed before."""
        cdef Py_ssize_t size = chunk.shape[0]
        if self._failed:
            raise FramingError(self._failed)
        if size and not self._error:
            try:
                self._read(&chunk[0], size)
            except FramingError as error:
                self._error = error.reason
        self._fed += size

    def next_message(self):
        """The next line as its words, all str but the decoded secret; None when none is complete.

        Empty lines are skipped. After a FramingError the framer is dead and raises it again.
        """
        if self._failed:
            raise FramingError(self._failed)
        if self._ready:
            message, self._returned = self._ready.pop(0)
            return message
        if self._error:
            self.wipe()
            self._failed = self._error
            raise FramingError(self._failed)
        self._returned = self._fed - self._length - self._cr
        return None

    cdef int _read(self, const unsigned char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t at = 0
        cdef object message
        while at < size:
            if data[at] == LF:
                at += 1
                message = self._end_of_line()
                if message is not None:
                    self._ready.append((message, self._fed + at))
            elif self._blob:
                at += self._read_blob(data + at, size - at)
            else:
                at += self._read_words(data + at, size - at)
            if self._length > self._max_line:
                raise FramingError("line")
        return 0

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
            self._secret.reserve(min(size, self._max_secret - self._secret.size) + 4)
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
        cdef bytes type = self._line.data[VERB_SIZE:self._line.size - 1]
        cdef bytearray secret = _exact(self._secret.data, self._written, None)
        self._secret.clear()
        return "credentials", type.decode("ascii"), secret

    cdef object _end_of_words(self):
        cdef Py_ssize_t i, begin = 0, size = self._line.size
        cdef unsigned char *line = self._line.data
        cdef list words = []
        if self._octet:
            raise FramingError("octet")
        for i in range(size + 1):
            if i < size and line[i] != SPACE:
                if line[i] < 0x21 or line[i] > 0x7E or (not words and not _is_verb(line[i])):
                    raise FramingError("octet")
                continue
            if i == begin or (not words and i > 32):
                raise FramingError("octet")
            words.append((<bytes>line[begin:i]).decode("ascii"))
            begin = i + 1
        if words[0] == "credentials":
            raise FramingError("credentials")
        return tuple(words)

    def wipe(self):
        """Wipe all that is inside; the framer is dead afterwards."""
        for message, _ in self._ready:
            if message[0] == "credentials":
                wipe(message[2])
        self._ready.clear()
        self._line.clear()
        self._secret.clear()
        self._returned = self._fed
        self._failed = self._failed or "octet"
        self._reset()


cdef inline bint _is_type(unsigned char c) noexcept:
    return c'a' <= c <= c'z' or c'0' <= c <= c'9' or c == c'-'


cdef inline bint _is_verb(unsigned char c) noexcept:
    return c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c'0' <= c <= c'9' or c == c'-'
