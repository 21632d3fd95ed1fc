# Revoked users are an object by user, as OPA's documentation on performance asks for; ranges are a list, and are
# compared one by one by the function that OPA has for that.
package caed

default unrevoked := false

default allow := false

unrevoked if not revoked

allow if {
	not revoked
	inside
}

revoked if input.iat <= data.revoked[input.tid][input.sub]

inside if {
	some cidr in data.office
	net.cidr_contains(cidr, input.ip)
}
