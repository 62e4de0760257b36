/**
 * The version of etcd's API that this door speaks. Clients ask for it to find out what they may use (Patroni picks its paths by it): it is not Kvorum's own.
 */
export const ETCD_VERSION = '3.5.0';
