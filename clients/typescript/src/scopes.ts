/**
 * Returns whether a scope covers another: `*` covers all, `runners:*` covers `runners:read`, and
 * `*:read` covers `data:read`.
 */
function covers(held: string, wanted: string): boolean {
  const wantedParts = wanted.split(":");
  const heldParts = held.split(":");
  for (const [at, part] of heldParts.entries()) {
    if (wantedParts[at] === undefined) return false;
    if (part === "*" && at === heldParts.length - 1) return true;
    if (part !== "*" && part !== wantedParts[at]) return false;
  }
  return heldParts.length === wantedParts.length;
}

/** Returns the scopes of `wanted` that none of `held` covers. */
export function missing(held: readonly string[], wanted: readonly string[]): string[] {
  return wanted.filter((scope) => !held.some((own) => covers(own, scope)));
}
