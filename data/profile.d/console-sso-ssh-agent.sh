# The ssh-agent of the desktop, where the console lends one, and nobody has chosen another.
if [ -z "${SSH_AUTH_SOCK-}" ] && [ -S /run/console-sso-ssh/agent.sock ]; then
    export SSH_AUTH_SOCK=/run/console-sso-ssh/agent.sock
fi
