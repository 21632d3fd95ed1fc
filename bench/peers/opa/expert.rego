# Ranges are indexed by hand, since OPA has no index for them: for each length of prefix that occurs, an object by the
# first address as a number.
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
	[a, b, c, d] := split(input.ip, ".")
	address := (((((to_number(a) * 256) + to_number(b)) * 256) + to_number(c)) * 256) + to_number(d)
	some length in data.office.lengths
	first := bits.lsh(bits.rsh(address, 32 - length), 32 - length)
	data.office.ranges[format_int(length, 10)][format_int(first, 10)]
}
