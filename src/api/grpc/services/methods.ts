/** Every method of the door, by its path. */
import type { Ports } from '../../../ports.ts';
import type { Method, ServiceTable } from '../method.ts';
import { authService } from './auth_methods.ts';
import { clusterService } from './cluster_methods.ts';
import { electionService } from './election_methods.ts';
import type { EtcdContext } from './etcd_context.ts';
import { healthService } from './health_methods.ts';
import { kvService } from './kv_methods.ts';
import { leaseService } from './lease_methods.ts';
import { lockService } from './lock_methods.ts';
import { maintenanceService } from './maintenance_methods.ts';
import { patientService } from './patient_method.ts';
import { reflectionServices } from './reflection_methods.ts';
import { watchService } from './watch_methods.ts';

export function etcdServices(context: EtcdContext, ports: Ports): ServiceTable[] {
  const services: ServiceTable[] = [
    patientService(kvService(context), ports),
    watchService(context, ports),
    patientService(leaseService(context), ports),
    patientService(clusterService(context), ports),
    patientService(maintenanceService(context), ports),
    patientService(authService(context), ports),
    lockService(context, ports),
    electionService(context, ports),
  ];
  services.push(
    healthService(context.service, ports, (name) => services.some((service) => service.name === name)),
  );
  services.push(...reflectionServices(services));
  return services;
}

/** By path, as gRPC has them. */
export function etcdMethods(context: EtcdContext, ports: Ports): ReadonlyMap<string, Method> {
  return new Map(
    etcdServices(context, ports).flatMap(({ name, methods }) =>
      methods.map((method) => [`/${name}/${method.name}`, method] as const),
    ),
  );
}
