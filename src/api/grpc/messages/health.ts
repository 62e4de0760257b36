/** Messages of grpc.health.v1 and of gRPC's server reflection (v1 and v1alpha, which differ in their package only). */
import {
  bytes,
  type EnumType,
  enumeration,
  int32,
  message,
  messageType,
  oneof,
  repeated,
  string,
} from '../protobuf/message_type.ts';

export const ServingStatus = {
  name: 'grpc.health.v1.HealthCheckResponse.ServingStatus',
  values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 },
} as const satisfies EnumType;
export const HealthCheckRequest = messageType('grpc.health.v1.HealthCheckRequest', { service: string(1) });
export const HealthCheckResponse = messageType('grpc.health.v1.HealthCheckResponse', {
  status: enumeration(1, ServingStatus),
});

/** The types of one version of server reflection. */
export function reflectionMessages(packageName: string) {
  const named = (name: string): string => `${packageName}.${name}`;
  const ExtensionRequest = messageType(named('ExtensionRequest'), {
    containing_type: string(1),
    extension_number: int32(2),
  });
  const ServerReflectionRequest = messageType(named('ServerReflectionRequest'), {
    host: string(1),
    file_by_filename: oneof('message_request', string(3)),
    file_containing_symbol: oneof('message_request', string(4)),
    file_containing_extension: oneof(
      'message_request',
      message(5, () => ExtensionRequest),
    ),
    all_extension_numbers_of_type: oneof('message_request', string(6)),
    list_services: oneof('message_request', string(7)),
  });
  const FileDescriptorResponse = messageType(named('FileDescriptorResponse'), {
    file_descriptor_proto: repeated(bytes(1)),
  });
  const ExtensionNumberResponse = messageType(named('ExtensionNumberResponse'), {
    base_type_name: string(1),
    extension_number: repeated(int32(2)),
  });
  const ServiceResponse = messageType(named('ServiceResponse'), { name: string(1) });
  const ListServiceResponse = messageType(named('ListServiceResponse'), {
    service: repeated(message(1, () => ServiceResponse)),
  });
  const ErrorResponse = messageType(named('ErrorResponse'), {
    error_code: int32(1),
    error_message: string(2),
  });
  const ServerReflectionResponse = messageType(named('ServerReflectionResponse'), {
    valid_host: string(1),
    original_request: message(2, () => ServerReflectionRequest),
    file_descriptor_response: oneof(
      'message_response',
      message(4, () => FileDescriptorResponse),
    ),
    all_extension_numbers_response: oneof(
      'message_response',
      message(5, () => ExtensionNumberResponse),
    ),
    list_services_response: oneof(
      'message_response',
      message(6, () => ListServiceResponse),
    ),
    error_response: oneof(
      'message_response',
      message(7, () => ErrorResponse),
    ),
  });
  return {
    ServerReflectionRequest,
    ServerReflectionResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServiceResponse,
    ErrorResponse,
  };
}
