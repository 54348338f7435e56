"""Chooses the cache of a collection (DIR, KCM, KEYRING) that holds the ticket for a service.

GSS-API settles on the primary cache as soon as a caller asks for the owner's name. So we choose before that,
in the same order as MIT krb5: by .k5identity(5), then by the service's realm, else the primary cache
(krb5_cc_select, MIT krb5 Application Developer Reference).
"""

import os
from contextlib import ExitStack

ALONE = ("FILE:", "MEMORY:", "/")  # names of caches that cannot be collections


def chosen(spn: str, named: str | None, own: str = "") -> str | None:
    """Return the cache for the service `spn` or, with `own`, the cache of that principal.

    `named` is the cache or collection to search, None for the default one; if it is not a collection, it is
    the result. Raises MechanismError("no-ticket") when .k5identity, or `own`, names a principal without a
    cache. This asks no KDC, and for a FILE cache it does not even load the library.
    """
    if (named or os.environ.get("KRB5CCNAME", "")).startswith(ALONE):
        return named
    from sso_mechs.krb5_caches import Caches  # here, because a FILE cache needs nothing of it

    with ExitStack() as stack:
        caches = Caches(named, stack)
        primary = caches.primary()
        if primary is None:
            return named
        return caches.of_principal(own) if own else caches.of_service(spn) or primary
