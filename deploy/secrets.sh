#!/bin/sh
# Make the secrets that docker-compose.yml mounts as files; those that are there already stay as they are.
#
#     deploy/secrets.sh [FOLDER]      by default the folder `secrets` of the project
#
# The folder is closed to others. The files in it are readable, because Compose mounts them as they are and the
# containers' users are not the one who runs this.
set -eu

folder=${1:-$(dirname "$0")/../secrets}
mkdir -p "$folder"
chmod 700 "$folder"

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

keep() {
    [ -e "$folder/$1" ] || printf '%s\n' "$2" > "$folder/$1"
    chmod 444 "$folder/$1"
}

keep postgres_password "$(random)"
keep database_url "postgresql+psycopg://mainstay:$(cat "$folder/postgres_password")@postgres:5432/mainstay"
keep redis_conf "requirepass $(random)"
keep redis_url "redis://:$(sed 's/^requirepass //' "$folder/redis_conf")@redis:6379/0"
keep mainstay_key_pepper "$(random)"
keep mainstay_stripe_api_key sk_test_sandbox
keep flower_basic_auth "operator:$(random)"
keep flower_cookie_secret "$(random)$(random)"

echo "The secrets are in $folder. Flower's user and password are in flower_basic_auth there."
