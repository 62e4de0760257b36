/**
 * Whose a client's session is, where rights are enforced: what is kept of its results is for its owner alone.
 *
 * A session's results are given to whoever repeats its sequence numbers, and its numbers can be guessed. So a session is used by the user who opened it and
 * by nobody else; one that was opened when rights were not enforced belongs to nobody and is of no use from then on (its client opens another).
 *
 * Invariants: the same on every node; no more owners are kept than twice the open sessions and a few.
 */

const PRUNE_ABOVE = 64;

export class SessionOwners {
  private readonly owners = new Map<number, string>();
  private readonly open: (session: number) => boolean;
  private pruneAt = PRUNE_ABOVE;

  constructor(open: (session: number) => boolean) {
    this.open = open;
  }

  opened(session: number, user: string): void {
    this.owners.set(session, user);
    if (this.owners.size < this.pruneAt) return;
    for (const one of this.owners.keys()) if (!this.open(one)) this.owners.delete(one);
    this.pruneAt = 2 * this.owners.size + PRUNE_ABOVE;
  }

  /** Of a session that is not open any more, which its table refuses by itself, nobody is refused here. */
  refuses(user: string, session: number): boolean {
    return this.open(session) && this.owners.get(session) !== user;
  }

  /** The user is gone: another one of the same name is somebody else. */
  forget(user: string): void {
    for (const [session, owner] of this.owners) if (owner === user) this.owners.delete(session);
  }

  /** Those of the open sessions, by session. */
  capture(): { session: number; user: string }[] {
    const held: { session: number; user: string }[] = [];
    for (const [session, user] of this.owners) if (this.open(session)) held.push({ session, user });
    return held.sort((a, b) => a.session - b.session);
  }

  restore(held: readonly { readonly session: number; readonly user: string }[]): void {
    this.owners.clear();
    for (const { session, user } of held) this.owners.set(session, user);
    this.pruneAt = 2 * this.owners.size + PRUNE_ABOVE;
  }
}
