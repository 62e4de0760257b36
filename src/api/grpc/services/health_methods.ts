/** grpc.health.v1.Health: whether this node serves requests, which needs a leader and a disk that takes writes. */
import type { Ports, TimerHandle } from '../../../ports.ts';
import type { Service } from '../../service.ts';
import { HealthCheckRequest, HealthCheckResponse, ServingStatus } from '../messages/health.ts';
import { type ServiceTable, type StreamCall, type StreamHandler, streaming, unary } from '../method.ts';
import { CODE, GrpcError } from '../status.ts';

const LOOK_MS = 1_000;

/** @param knows whether there is a service of that name; the empty name stands for the whole server. */
export function healthService(
  service: Service,
  ports: Ports,
  knows: (name: string) => boolean,
): ServiceTable {
  const statusOf = (name: string): number => {
    if (name !== '' && !knows(name)) return ServingStatus.values.SERVICE_UNKNOWN;
    return isServing(service) ? ServingStatus.values.SERVING : ServingStatus.values.NOT_SERVING;
  };
  return {
    name: 'grpc.health.v1.Health',
    methods: [
      unary('Check', HealthCheckRequest, HealthCheckResponse, (request) => {
        const status = statusOf(request.service);
        if (status === ServingStatus.values.SERVICE_UNKNOWN) {
          throw new GrpcError(CODE.NOT_FOUND, 'unknown service');
        }
        return { status };
      }),
      streaming(
        'Watch',
        HealthCheckRequest,
        HealthCheckResponse,
        false,
        (call) => new HealthWatch(statusOf, ports, call),
      ),
    ],
  };
}

export function isServing(service: Service): boolean {
  return service.standing().leader !== 0 && service.status().health === 'ok';
}

class HealthWatch implements StreamHandler<{ service: string }> {
  readonly #statusOf: (name: string) => number;
  readonly #ports: Ports;
  readonly #call: StreamCall<{ status: number }>;
  #timer: TimerHandle | undefined;
  #last = -1;

  constructor(statusOf: (name: string) => number, ports: Ports, call: StreamCall<{ status: number }>) {
    this.#statusOf = statusOf;
    this.#ports = ports;
    this.#call = call;
  }

  message(request: { service: string }): void {
    this.#look(request.service);
    this.#timer = this.#ports.timers.every(LOOK_MS, () => this.#look(request.service));
  }

  clientEnded(): void {}

  over(): void {
    this.#timer?.cancel();
  }

  roomAgain(): void {}

  #look(name: string): void {
    const status = this.#statusOf(name);
    if (status === this.#last) return;
    this.#last = status;
    this.#call.send({ status });
  }
}
