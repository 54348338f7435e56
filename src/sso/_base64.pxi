# Part of _framing.pyx: base64, and the memory into which secrets are decoded.

b64_find_kernels()
cdef int _each = 0
_names = []
while b64_kernels[_each].name != NULL:
    _names.append(b64_kernels[_each].name.decode())
    _each += 1
KERNELS = tuple(_names)
KERNEL = environ.get("SSO_BASE64") or KERNELS[0]
if KERNEL not in KERNELS:
    raise RuntimeError(f"SSO_BASE64 is {KERNEL!r}; on this machine it can be {' or '.join(KERNELS)}")
cdef const b64_kernel *_kernel = &b64_kernels[KERNELS.index(KERNEL)]


@cython.final
@cython.freelist(4)
cdef class Block:
    """A secret in the arena; it is wiped when the last reference goes."""

    cdef unsigned char *data
    cdef size_t room, size, touched  # bytes: allocated; of the secret; possibly written

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, <Py_ssize_t>self.size, 0, flags)

    def __dealloc__(self):
        if self.data != NULL:
            arena_give(self.data, self.room, self.touched)


cdef Block _block(Py_ssize_t octets):
    """Allocate a block of so many bytes, plus the slack that a kernel may write after them."""
    cdef Block block = Block.__new__(Block)
    block.room = <size_t>octets + B64_SLACK
    block.data = arena_take(block.room)
    if block.data == NULL:
        raise MemoryError
    return block


def b64encode(const unsigned char[::1] data not None):
    """Encode bytes as canonical base64 (RFC 4648 section 4), in a buffer that the caller may wipe."""
    cdef Py_ssize_t size = data.shape[0]
    cdef bytearray result = PyByteArray_FromStringAndSize(NULL, (size + 2) // 3 * 4)
    if size:
        b64_encode(_kernel, &data[0], <size_t>size, <unsigned char *>PyByteArray_AS_STRING(result))
    return result


def b64decode(const unsigned char[::1] data not None, Py_ssize_t max_length=65536):
    """Decode canonical base64 into a buffer that the caller wipes; errors as in the Python twin."""
    cdef Py_ssize_t size = data.shape[0]
    cdef size_t taken = 0, written = 0
    cdef b64_decoder d = b64_decoder(0, 0, 0, 0)
    if size == 0:
        return bytearray()
    while d.pads < 2 and d.pads < size and data[size - 1 - d.pads] == c'=':
        d.pads += 1
    cdef Block block = _block((size + 3) // 4 * 3)
    block.touched = block.room
    taken = b64_decode(_kernel, &d, &data[0], <size_t>(size - d.pads), block.data, &written)
    b64_finish(&d, block.data, &written)
    if d.bad or <Py_ssize_t>taken + d.pads != size:
        raise FramingError("base64")
    if <Py_ssize_t>written > max_length:
        raise FramingError("secret")
    return PyByteArray_FromStringAndSize(<char *>block.data, <Py_ssize_t>written)


def wipe(unsigned char[::1] buffer not None):
    """Overwrite a writable buffer with zeros, and clear the vector registers."""
    if buffer.shape[0]:
        explicit_bzero(&buffer[0], <size_t>buffer.shape[0])
        registers_clear()


def credentials_line(str type not None, const unsigned char[::1] secret not None):
    """Build the `credentials` line in a buffer that the caller wipes; base64 is written directly into it."""
    cdef bytes head = f"credentials {type} ".encode()
    cdef Py_ssize_t begin = len(head), size = secret.shape[0], end = begin + (size + 2) // 3 * 4
    cdef bytearray line = PyByteArray_FromStringAndSize(NULL, end + 1)
    cdef unsigned char *to = <unsigned char *>PyByteArray_AS_STRING(line)
    memcpy(to, PyBytes_AS_STRING(head), <size_t>begin)
    to[end] = LF
    if size:
        b64_encode(_kernel, &secret[0], <size_t>size, to + begin)
    return line
