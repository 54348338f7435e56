# mypy: ignore-errors
"""Makes the database of a Samba AD domain: a program for Debian's Python, among Samba's own modules.

    samba_domain.py FOLDER REALM JSON

The object of JSON has `people`, from a name to {password, groups}, and `machines`, from a name to {spn, aes,
delegated}: whether the account says that it takes AES (msDS-SupportedEncryptionTypes), and whether it is
trusted for delegation (MS-ADTS 2.2.16). The keys of a machine go to FOLDER/NAME.keytab.

Samba's modules have no types, so mypy does not look here.
"""

import json
import logging
import secrets
import sys

import ldb
import samba.dckeytab  # noqa: F401  (it gives Net.export_keytab)
from samba import dsdb, provision
from samba.auth import system_session
from samba.net import Net
from samba.param import LoadParm
from samba.samdb import SamDB

AES = "24"  # both of RFC 3962


def make(folder, realm):
    """Provision the domain; the rights of its shares are left out, since the file system may have none."""
    made = provision.provision(
        logging.getLogger("samba"),
        system_session(),
        targetdir=folder,
        realm=realm,
        domain=realm.split(".")[0],
        adminpass=f"Aa1.{secrets.token_hex(16)}",
        serverrole="active directory domain controller",
        dom_for_fun_level=dsdb.DS_DOMAIN_FUNCTION_2008_R2,
        hostname="dc",
        hostip="127.0.0.1",
        dns_backend="NONE",
        skip_sysvolacl=True,
    )
    settings = LoadParm()
    settings.load(made.paths.smbconf)
    return settings, SamDB(session_info=system_session(), lp=settings, url=settings.samdb_url())


def add_person(database, name, password, groups):
    database.newuser(name, password)
    for number in range(groups):
        database.newgroup(f"{name}-{number}")
        database.add_remove_group_members(f"{name}-{number}", [name])


def add_machine(database, name, spn, aes, delegated):
    database.newcomputer(name, service_principal_name_list=[spn])
    account = f"(sAMAccountName={name}$)"
    flags = dsdb.UF_WORKSTATION_TRUST_ACCOUNT | (dsdb.UF_TRUSTED_FOR_DELEGATION if delegated else 0)
    change = {"userAccountControl": str(flags)} | ({"msDS-SupportedEncryptionTypes": AES} if aes else {})
    message = ldb.Message(database.search(expression=account)[0].dn)
    for key, value in change.items():
        message[key] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, key)
    database.modify(message)
    database.setpassword(account, f"Aa1.{secrets.token_hex(16)}")


def main():
    folder, realm, wanted = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    settings, database = make(folder, realm)
    for name, person in wanted["people"].items():
        add_person(database, name, **person)
    for name, machine in wanted["machines"].items():
        add_machine(database, name, **machine)
        Net(None, settings).export_keytab(keytab=f"{folder}/{name}.keytab", principal=machine["spn"])


main()
