"""PAM files as distributions and sites have them, for the tests of what is done to such files."""

LOGIN = """\
# The PAM configuration file for the Shadow `login' service
auth       optional   pam_faildelay.so  delay=3000000
# auth       required   pam_issue.so issue=/etc/issue
auth       requisite  pam_nologin.so
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close
session    required     pam_loginuid.so
@include common-auth
auth       optional   pam_group.so
session    required   pam_limits.so
@include common-account
@include common-session
@include common-password
"""
# Debian's shared files, as pam-auth-update writes them.
COMMON = {
    "common-auth": """\
auth\t[success=1 default=ignore]\tpam_unix.so nullok
auth\trequisite\t\t\tpam_deny.so
auth\trequired\t\t\tpam_permit.so
auth\toptional\t\t\tpam_cap.so
""",
    "common-account": """\
account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so
account\trequisite\t\t\tpam_deny.so
account\trequired\t\t\tpam_permit.so
""",
    "common-session": """\
session\t[default=1]\t\t\tpam_permit.so
session\trequisite\t\t\tpam_deny.so
session\trequired\t\t\tpam_permit.so
session\trequired\tpam_unix.so
session\toptional\tpam_systemd.so
""",
    "common-password": "password required pam_unix.so\n",
}
# The same with Kerberos, sssd and winbind beside it (libpam-krb5, libpam-sss, libpam-winbind).
JOINED = """\
auth\t[success=4 default=ignore]\tpam_krb5.so minimum_uid=1000
auth\t[success=3 default=ignore]\tpam_unix.so nullok try_first_pass
auth\t[success=2 default=ignore]\tpam_sss.so use_first_pass
auth\t[success=1 default=ignore]\tpam_winbind.so krb5_auth krb5_ccache_type=FILE cached_login try_first_pass
auth\trequisite\t\t\tpam_deny.so
auth\trequired\t\t\tpam_permit.so
auth\toptional\t\t\tpam_cap.so
"""
_SELINUX = "session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so"
# Debian 12's own login screens.
SCREENS = {
    "login": LOGIN,
    "gdm-password": f"""\
#%PAM-1.0
auth    requisite       pam_nologin.so
auth\trequired\tpam_succeed_if.so user != root quiet_success
@include common-auth
auth    optional        pam_gnome_keyring.so
@include common-account
{_SELINUX} close
session required        pam_loginuid.so
{_SELINUX} open
session optional        pam_keyinit.so force revoke
session required        pam_limits.so
session required        pam_env.so readenv=1
session required        pam_env.so readenv=1 user_readenv=1 envfile=/etc/default/locale
@include common-session
session optional        pam_gnome_keyring.so auto_start
@include common-password
""",
    "lightdm": f"""\
#%PAM-1.0
auth      requisite pam_nologin.so
session      required pam_env.so readenv=1
session      required pam_env.so readenv=1 envfile=/etc/default/locale
@include common-auth
-auth  optional pam_gnome_keyring.so
@include common-account
{_SELINUX} close
session  required        pam_limits.so
@include common-session
{_SELINUX} open
-session optional        pam_gnome_keyring.so auto_start
@include common-password
""",
    "sddm": f"""\
#%PAM-1.0
auth    requisite       pam_nologin.so
auth    required        pam_succeed_if.so user != root quiet_success
@include common-auth
-auth   optional        pam_gnome_keyring.so
-auth   optional        pam_kwallet5.so
@include common-account
{_SELINUX} close
session optional        pam_keyinit.so force revoke
session required        pam_limits.so
session required        pam_loginuid.so
@include common-session
{_SELINUX} open
-session optional       pam_gnome_keyring.so auto_start
-session optional       pam_kwallet5.so auto_start
@include common-password
session required        pam_env.so
""",
}
# Fedora's, with local users and those of sssd.
FEDORA = {
    "login": """\
#%PAM-1.0
auth       substack     system-auth
auth       include      postlogin
account    required     pam_nologin.so
account    include      system-auth
password   include      system-auth
session    required     pam_loginuid.so
session    include      system-auth
session    include      postlogin
-session   optional     pam_ck_connector.so
""",
    "system-auth": """\
auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        [default=1 ignore=ignore success=ok]         pam_localuser.so
auth        sufficient                                   pam_unix.so nullok
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        sufficient                                   pam_sss.so forward_pass
auth        required                                     pam_deny.so
account     required                                     pam_unix.so
session     optional                                     pam_keyinit.so revoke
session     required                                     pam_limits.so
-session    optional                                     pam_systemd.so
session     [success=1 default=ignore]                   pam_succeed_if.so service in crond quiet use_uid
session     required                                     pam_unix.so
session     optional                                     pam_sss.so
""",
    "postlogin": "session     optional                   pam_umask.so silent\n",
}
