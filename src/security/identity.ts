/** Who asks: what a door has found out about its client, and hands to the service with every call. */

export interface Identity {
  /** Empty: the cluster itself, or a caller in its process. No client can be that. */
  readonly user: string;
  /** The user's generation when the user was authenticated: it ends with the password, or the user. */
  readonly generation: number;
  /** Wall clock of the node; 0: does not pass. */
  readonly expiresAtMs: number;
}

/** Nodes, and whoever has the store open in its own process: there is nothing to be kept from them. */
export const THE_CLUSTER: Identity = Object.freeze({ user: '', generation: 0, expiresAtMs: 0 });
